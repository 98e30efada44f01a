"""The HTTP routes by subject: they parse, call what answers, and answer; Flask is named here and in `serving.app`."""
