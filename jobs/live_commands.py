"""The commands `value-model up` and `value-model learn`: a market that learns from itself."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import click

FOLDER = click.Path(path_type=Path, file_okay=False, exists=True)


def learning_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options that say when and on what is trained."""
    for option in (
        click.option("--tune-as", "owner", default=None, metavar="OWNER", help="whose weights may be moved by --tune"),
        click.option(
            "--tune",
            "maximise",
            default=None,
            metavar="METRIC",
            help="tune the policy after each generation, and stage what is promised to a tenth of the shoppers",
        ),
        click.option("--keep", default=3, show_default=True, type=click.IntRange(min=1), help="generations, newest"),
        click.option(
            "--every",
            default=24.0,
            show_default=True,
            type=click.FloatRange(min=0.01),
            metavar="HOURS",
            help="of the log's own time, between two trainings",
        ),
        click.option(
            "--log", type=click.Path(path_type=Path), default=None, help="SQLite log  [default: FOLDER/log.sqlite]"
        ),
    ):
        command = option(command)
    return command


@click.command()
@click.argument("folder", type=FOLDER)
@learning_options
@click.option("--once", is_flag=True, help="train on what there is, and end: 0 = shipped, 1 = refused")
def learn(
    folder: Path, log: Path | None, every: float, keep: int, maximise: str | None, owner: str | None, once: bool
) -> None:
    """Train from the newest bundle of run FOLDER whenever its service's log holds HOURS more; ship what passes.

    Each generation is a run in FOLDER/generations that goes on from the one in force. It is checked like any bundle,
    and held against the one in force on requests that neither has learned; one that is worse is refused. Services
    follow the link FOLDER/bundle to what is shipped. With --tune the policy's weights of OWNER are tuned on the newest
    requests then; nothing is put in force by it.
    """
    from jobs.learn import TuneStep
    from jobs.learn import learn as job

    _check_tuning(maximise, owner)
    path, tuning = log or folder / "log.sqlite", TuneStep(maximise, owner) if maximise and owner else None
    sys.exit(job(folder, log=path, every=timedelta(hours=every), keep=keep, once=once, tuning=tuning))


def _check_tuning(maximise: str | None, owner: str | None) -> None:
    if bool(maximise) != bool(owner):
        raise click.UsageError("--tune METRIC and --tune-as OWNER go together: name whose weights may be moved.")


@click.command()
@click.argument("folder", type=FOLDER)
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8080, show_default=True)
@click.option("--workers", default=1, show_default=True, help="processes of the service; one a core")
@learning_options
@click.option("--watch", default=60.0, show_default=True, metavar="MINUTES", help="between two looks; 0 = no watching")
@click.option("--kafka", default=None, help="brokers that the log is sent to, as `produce` takes them")
@click.option("--prefix", default="", help="put before the names of their topics")
@click.option("--features", default=None, help="Redis for users' and items' memories, redis://HOST:PORT/DATABASE")
def up(
    folder: Path,
    host: str,
    port: int,
    workers: int,
    log: Path | None,
    every: float,
    keep: int,
    maximise: str | None,
    owner: str | None,
    watch: float,
    kafka: str | None,
    prefix: str,
    features: str | None,
) -> None:
    """Serve run FOLDER, learn from its log, ship what is better, watch: `serve`, `learn` and `watch` as one.

    A line says what each of them does; one that ends is started again. SIGTERM, SIGHUP and Ctrl-C end all of them,
    after what has begun is answered. After a crash start it again: it goes on.
    """
    from jobs.up import up as job

    _check_tuning(maximise, owner)
    path = log or folder / "log.sqlite"
    place = ["--log", str(path)]
    service = ["serve", str(folder), "--host", host, "--port", str(port), "--workers", str(workers), *place]
    for name, value in {"--kafka": kafka, "--prefix": prefix, "--features": features}.items():
        service += [name, value] if value else []
    parts = {"service": service, "learn": ["learn", str(folder), *place, "--every", str(every), "--keep", str(keep)]}
    parts["learn"] += ["--tune", maximise, "--tune-as", owner] if maximise and owner else []
    if watch:
        parts["watch"] = ["watch", str(folder), *place, "--every", str(watch)]
    sys.exit(job(folder, parts, host=host, port=port, log=path))
