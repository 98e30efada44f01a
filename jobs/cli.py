"""The `value-model` command: every job by name. Jobs are imported when they are asked for, so that --help is quick."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from jobs.embed_command import embed_command
from jobs.experiment_commands import experiment_commands
from jobs.feature_commands import feature_commands
from jobs.item_commands import item_commands
from jobs.kafka_commands import consume, produce
from jobs.live_commands import learn, up
from jobs.log_argument import LogArgument
from jobs.log_commands import load_log, log_commands
from jobs.run_commands import compare, config, demo, run, search
from jobs.spark_commands import spark_commands
from jobs.train_commands import network_worker, train_ranker, train_retrieval
from jobs.uplift_command import uplift_command
from marketplace.log_place import Place

FOLDER = click.Path(path_type=Path, file_okay=False)
PATH = click.Path(path_type=Path, exists=True)
FILE = click.Path(path_type=Path, dir_okay=False, exists=True)
LOG = LogArgument()


class MetricOption(click.Option):
    """An option whose help lists the metrics; they are read where help is shown, so that the rest stays quick."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        from value_model.formula.metrics import NAMES

        self.help = ", ".join(NAMES)
        return super().get_help_record(ctx)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="value-model")
def cli() -> None:
    """Rank a marketplace by what showing each item is worth.

    \b
    Start here:
      value-model run --out runs/first            simulate a market, train, evaluate, export
      value-model evaluate runs/first             the metric table and an HTML report
      value-model serve runs/first                the HTTP service on its bundle
      value-model up runs/first                   the same, and it learns from its log as it goes
      value-model recommend runs/first --user U   one explained slate
      value-model tune runs/first                 better weights, promised or refused
      value-model publish POLICY runs/first       put a policy in force, in seconds
      value-model watch runs/first                is anything wrong with the service's log?
    """


for command in (run, config, compare, search, demo, up, learn, embed_command, produce, consume, load_log):
    cli.add_command(command)
for command in (train_retrieval, train_ranker, network_worker):
    cli.add_command(command)
for group in (item_commands, experiment_commands, feature_commands, uplift_command, log_commands, spark_commands):
    cli.add_command(group)


@cli.command()
@click.argument("folder", type=FOLDER)
def evaluate(folder: Path) -> None:
    """Print the metric table of run FOLDER and write its HTML report."""
    from jobs.run import again

    again(folder, "evaluation")


@cli.command()
@click.argument("folder", type=FOLDER)
@click.option("--tf-serving", type=FOLDER, default=None, help="write the models of the bundle that serves here instead")
@click.option("--every", type=click.FloatRange(min=0.5), default=None, help="follow what serves: seconds between looks")
def export(folder: Path, tf_serving: Path | None, every: float | None) -> None:
    """Write the bundle of run FOLDER: what the service and TF-Serving load.

    With --tf-serving, what a TF-Serving is started on (docs/tf-serving.md): the models of the bundle that serves, as
    versions of its number. With --every it goes on, until a signal, and hands over whichever bundle serves next.
    """
    if every is not None and tf_serving is None:
        raise click.UsageError("--every goes with --tf-serving: a bundle is exported once.")
    if tf_serving is not None:
        from jobs.tf_serving import tf_serving as job

        job(folder, tf_serving, every=every)
    else:
        from jobs.run import again

        again(folder, "bundle")


@cli.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8080, show_default=True)
@click.option("--workers", default=1, show_default=True, help="processes; one a core")
@click.option("--log", type=click.Path(path_type=Path), default=None, help="SQLite log  [default: FOLDER/log.sqlite]")
@click.option("--kafka", default=None, help="brokers that the log is sent to, as `produce` takes them")
@click.option("--prefix", default="", help="put before the names of their topics")
@click.option("--features", default=None, help="Redis for users' and items' memories, redis://HOST:PORT/DATABASE")
@click.option("--gathered", is_flag=True, help="one of several machines, which share --features (docs/cluster.md)")
@click.option("--tf-serving", default=None, help="HOST:PORT of a TF-Serving that scores (docs/tf-serving.md)")
def serve(folder: Path, **options: Any) -> None:
    """Serve the bundle of run FOLDER over HTTP with gunicorn.

    SIGTERM, SIGHUP and Ctrl-C answer what has begun, and end. Exits with gunicorn's code: 0 after such a signal, 2
    where the address is in use or the log cannot be opened, another where the service failed.
    """
    from jobs.serve import serve as job

    if options["gathered"] and not (options["kafka"] and options["features"]):
        raise click.UsageError("--gathered goes with --kafka, which takes this log to the others', and --features.")
    sys.exit(job(folder, **options))


@cli.command()
@click.argument("folder", type=FOLDER)
@click.option("--user", default=None, help="a shopper  [default: one of the run's own]")
@click.option("--surface", default="home", show_default=True)
@click.option("--query", default=None, help="what is searched for, on --surface search")
@click.option("-k", default=10, show_default=True, help="items to show")
def recommend(folder: Path, user: str | None, surface: str, query: str | None, k: int) -> None:
    """Print one slate of run FOLDER with predictions, merchant value and each term's contribution."""
    from jobs.recommend import recommend as job

    job(folder, user=user, surface=surface, query=query, k=k)


@cli.command()
@click.option("--size", type=click.Choice(["small", "demo", "coupons", "large"]), default="demo", show_default=True)
@click.option("--seed", default=7, show_default=True)
@click.option("--out", type=FOLDER, default=Path("data/simulated"), show_default=True)
def simulate(size: str, seed: int, out: Path) -> None:
    """Simulate a market and write its tables as Parquet."""
    from jobs.data import simulate as job

    job(size, seed=seed, out=out)


@cli.command("example-shop")
@click.argument("folder", type=FOLDER)
@click.option("--seed", default=7, show_default=True)
def example_shop(folder: Path, seed: int) -> None:
    """Write a shop's export to FOLDER as docs/own_data.md has it: four CSV files and their mapping."""
    from jobs.example_shop import example_shop as job

    job(folder, seed=seed)


@cli.command("join-feedback")
@click.argument("log", type=LOG)
@click.option("--out", type=click.Path(path_type=Path), default=Path("training_rows.parquet"), show_default=True)
def join_feedback(log: Place, out: Path) -> None:
    """Join the slates and feedback of a service's LOG into training rows, and count what did not join."""
    from jobs.join_feedback import join_feedback as job

    job(log, out=out)


@cli.command()
@click.argument("log", type=LOG)
@click.option("--run", "home", type=FOLDER, default=None, help="the run of the bundles  [default: LOG's folder]")
@click.option("--json", "out", type=click.Path(path_type=Path), default=None, help="also write the report here")
def replay(log: Place, home: Path | None, out: Path | None) -> None:
    """Answer the slates of a service's LOG again through the bundles that served them, and compare its features.

    A slate must replay to the same bits. The skew table compares features as logged with what the bundle's feature
    store would have known. Exits with 1 where a slate did not replay, or none has its bundle there.
    """
    from jobs.replay import replay_log

    sys.exit(replay_log(log, home=home, out=out))


@cli.command()
@click.argument("folder", type=FOLDER)
@click.option("--config", type=FILE, default=None, help="settings (TOML)  [default: FOLDER/watch.toml where it is]")
@click.option("--log", type=LOG, default=None, help="its log, a file or an address  [default: FOLDER/log.sqlite]")
@click.option("--every", type=click.FloatRange(min=0.1), default=None, metavar="MINUTES", help="go on until a signal")
def watch(folder: Path, config: Path | None, log: Place | None, every: float | None) -> None:
    """Watch the log of run or service FOLDER: judge each whole day against the days before it.

    An alert names one cause, the slates to look at and the runbook; it is printed and a line of FOLDER/alerts.jsonl.
    FOLDER/watch has a page a day, metrics for Prometheus, and what the next pass goes on from. Exits with 1 while a
    cause alarms.
    """
    from jobs.watch import watch as job

    sys.exit(job(folder, config=config, log=log, every=every))


@cli.command("check-data")
@click.argument("mapping", type=FILE)
@click.option("--policy", default="default", show_default=True, help="the policy of the run: a shipped one, or a file")
def check_data(mapping: Path, policy: str) -> None:
    """Say what is missing or odd in the data that MAPPING describes, with rows and fixes.

    Exits with 1 where something must be mended before a run.
    """
    from jobs.check import check_data as job

    sys.exit(job(mapping, policy=policy))


@cli.command("check-policy")
@click.argument("policy", type=FILE)
@click.option("--run", "folder", type=FOLDER, default=None, help="a run whose held-out slates it is tried on")
def check_policy(policy: Path, folder: Path | None) -> None:
    """Say what is wrong or risky in a value POLICY, with lines, reasons and fixes."""
    from jobs.check import check_policy as job

    sys.exit(job(policy, folder))


@cli.command("check-experiment")
@click.argument("file", type=FILE)
@click.option("--run", "folder", type=FOLDER, default=None, help="a run that it is tried on, and its experiments")
def check_experiment(file: Path, folder: Path | None) -> None:
    """Say what would harm shoppers or spoil the answer in an experiment's FILE, with lines, reasons and fixes."""
    from jobs.check_experiment import check_experiment as job

    sys.exit(job(file, folder))


@cli.command()
@click.argument("folder", type=FOLDER)
@click.option("--maximise", default="gmv", show_default=True, cls=MetricOption)
@click.option("--hold", multiple=True, help="a constraint; may be repeated  [default: those of the policy file]")
@click.option("--weights", default="", help="weights to search, with commas  [default: every weight that is a term]")
@click.option("--by", type=click.Choice(["surface", "segment"]), default=None, help="also weights of each one's own")
@click.option("--front", default="", help="metrics whose trade-off is drawn, with commas, the objective last")
@click.option("--trials", default=240, show_default=True, help="weightings to try; more goes on where fewer stopped")
@click.option("--policy", type=FILE, default=None, help="the policy to tune  [default: the run's own]")
@click.option("--out", type=FOLDER, default=None, help="where the answer is kept  [default: FOLDER/tuning]")
def tune(
    folder: Path,
    maximise: str,
    hold: tuple[str, ...],
    weights: str,
    by: str | None,
    front: str,
    trials: int,
    policy: Path | None,
    out: Path | None,
) -> None:
    """Search better weights on the held-out requests of run FOLDER, and say what they would change.

    No model runs again: logged slates are ranked under other weights. Half of the shoppers are searched, the others
    judge. Constraints are those of the policy file, or --hold.

    \b
    Examples:
      value-model tune runs/first
      value-model tune runs/first --maximise gmv --hold "ctr >= -1%" --hold "newcomer_exposure >= 0.08"
      value-model tune runs/first --by surface --weights w_click,w_gmv --front ctr,gmv
    \b
    A constraint is METRIC >= or <= BOUND, at 95 % or as it says:
      "ctr >= -1%"                  relative change; a percentage bears its sign
      "newcomer_exposure >= 0.08"   level
      "gmv >= -5 change at 90%"     change in the metric's unit

    OUT holds report.html and, where weights are promised, policy.toml, ready for check-policy and run --policy; the
    policy in force is left alone. The same question asked again goes on with its trials (study.db).

    Exits with 1 where nothing can be promised: the report then says why, and proposes the experiment that would tell.
    """
    from jobs.tune.job import tune as job

    answer = job(
        folder,
        maximise=maximise,
        hold=hold,
        weights=weights,
        front=front,
        by=by,
        trials=trials,
        policy=policy,
        out=out,
    )
    sys.exit(answer)


@cli.command()
@click.argument(
    "paths", nargs=-1, required=True, metavar="[POLICY] FOLDER", type=click.Path(path_type=Path, exists=True)
)
@click.option("--by", "owner", default="", help="who publishes: an owner, as policy files name them")
@click.option("--why", "reason", default="", help="the reason, for the history")
@click.option("--approved-by", multiple=True, help="an owner who agreed to what changes of theirs; may be repeated")
@click.option("--base", default=None, help="the version that POLICY was made from, or its number in the history")
@click.option("--merge", is_flag=True, help="bring together with what others published since --base")
@click.option("--share", default=1.0, show_default=True, help="stage it to this share of the shoppers")
@click.option("--despite", is_flag=True, help="although a guardrail is expected to break; stays on record")
@click.option("--reviewed", is_flag=True, help="guardrails are held against this version from now on")
@click.option("--rollback", is_flag=True, help="end the trial under way, or else go back to the version before")
@click.option("--to", "number", type=int, default=None, help="with --rollback: the version of this number")
def publish(paths: tuple[Path, ...], *, rollback: bool, number: int | None, **options: Any) -> None:
    """Put a value POLICY in force over the models that serve in FOLDER, a run's or a service's; nothing is trained.

    It is checked, on FOLDER's requests where it has some. Running services take it over within seconds. Without POLICY:
    what is served now, and the history.

    \b
    Examples:
      value-model publish mine.toml runs/first --by growth --why "Clicks pay less since June."
      value-model publish mine.toml runs/first --by growth --why "..." --approved-by finance --share 0.1
      value-model publish runs/first --rollback --by growth --why "Complaints."
      value-model publish runs/first

    Who owns a weight or a constraint must publish its change or be among --approved-by. Exits with 2 where it is
    refused, and says what stands in the way.
    """
    from jobs import publish as job

    request = job.PublishRequest(**options)
    if len(paths) > 2 or (rollback and len(paths) != 1):
        raise click.UsageError("give POLICY and FOLDER, or FOLDER alone: to look, or with --rollback")
    if rollback:
        job.roll_back_policy(paths[0], request, number=number)
    elif len(paths) == 1:
        job.print_served(paths[0])
    else:
        job.publish_policy(paths[0], paths[1], request)


@cli.command("evaluate-policy")
@click.argument("source", type=LogArgument(folders=True))
@click.argument("policy", type=FILE)
@click.option(
    "--json", "json_file", type=click.Path(path_type=Path, dir_okay=False), help="also write the figures here"
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="the page  [default: policy_evaluation.html beside SOURCE]"
)
def evaluate_policy(source: Place, policy: Path, json_file: Path | None, out: Path | None) -> None:
    """Say what a POLICY file would have brought on the requests of SOURCE, a run's folder or a service's log.

    No model runs again: logged slates are ranked under it. Every metric with its level as it happened, under the policy
    in force and under POLICY, the paired difference, and intervals; everywhere and by surface. Diagnostics say whether
    the log can answer at all.

    \b
    Examples:
      value-model evaluate-policy runs/first mine.toml
      value-model evaluate-policy runs/first/log.sqlite mine.toml --json figures.json

    Exits with 2 for a policy that cannot be read; the policy in force is left alone.
    """
    from jobs.evaluate_policy import evaluate as job

    sys.exit(job(source, policy, out=out, json_file=json_file))


def main() -> None:
    """Entry point: errors that a user can mend are one line; VALUE_MODEL_DEBUG=1 shows the stack."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's notes on devices that are not there
    try:
        cli(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        sys.exit(130)
    except (ValueError, FileNotFoundError) as error:
        if os.environ.get("VALUE_MODEL_DEBUG"):
            raise
        click.echo(f"value-model: {error}", err=True)
        sys.exit(2)
