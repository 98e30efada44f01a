"""What a file of deploy/ says to the program, read as the program itself would."""

import copy
import re

import click

import serving.wsgi
from jobs.cli import cli


def parsed(words, environment=()):
    """{option: value} of a `value-model` command line; click raises for what it does not know.

    Files that it wants to be there are those of another machine. What it would read from the environment is in
    `environment`.
    """
    command, words = cli, list(words)
    while isinstance(command, click.Group):
        name = words.pop(0)
        command = command.commands[name]
    command = copy.copy(command)
    command.params = [elsewhere(option) for option in command.params]
    for option in command.params:
        if option.envvar in environment and option.opts[0] not in words:
            words += [option.opts[0], environment[option.envvar]]
    return command.make_context(command.name, words).params


def elsewhere(option):
    if isinstance(option.type, click.Path):
        option = copy.copy(option)
        option.type = copy.copy(option.type)
        option.type.exists, option.type._new = False, True  # of a path, and of a log's address
    return option


def variables(words):
    """The names of the environment's variables that a command line reads."""
    command, words = cli, list(words)
    while isinstance(command, click.Group):
        command = command.commands[words.pop(0)]
    service = set(re.findall(r"^(VALUE_MODEL_\w+)", serving.wsgi.__doc__, re.M)) if command.name == "serve" else set()
    return service | {option.envvar for option in command.params if option.envvar}


def routes():
    """The paths that the service answers."""
    return {str(rule) for rule in serving.wsgi.create_app(None).url_map.iter_rules()}
