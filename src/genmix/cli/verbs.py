"""The command line: one verb for each thing a person does with a mixture; each verb is a function here.

What is wrong with the input is raised as ValueError or OSError and shown by ``genmix.cli.main``.
Heavy modules load inside the verbs, so that ``genmix --help`` is quick.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter

import genmix
from genmix.base import registry as models
from genmix.cli import files, settings
from genmix.cli.inputs import ALL_ROWS, DataOptions, Whole, load_data, match_columns, name_columns
from genmix.cli.labels import load_labelled, read_labels, read_predictions
from genmix.cli.tables import say, text_table

app = App(
    name="genmix",
    help="Deep generative mixture models for clustering images and tables.",
    version=genmix.__version__,
    default_parameter=Parameter(negative=""),
    suppress_keyboard_interrupt=False,  # main gives Ctrl-C its exit code
)


@app.command(sort_key=1)
def fit(
    data: str,
    /,
    *,
    components: Whole,
    out: Path,
    model: models.Name = "ganmm",
    labels: Path | None = None,
    preset: str | None = None,
    seed: Whole = 0,
    max_iter: Whole | None = None,
    n_init: Whole | None = None,
    device: str | None = None,
    checkpoint: Path | None = None,
    set_: Annotated[tuple[str, ...], Parameter(name="--set", show_default=False)] = (),
    progress: Annotated[
        bool | None, Parameter(name=["--progress", "--verbose"], negative="--no-progress")
    ] = None,
    rows: DataOptions = ALL_ROWS,
) -> None:
    """Fit a mixture to DATA and save it as a folder. Labels in DATA are never used, unless given by --labels.

    Parameters
    ----------
    data : str
        A data set's name (`genmix datasets` lists them), a .npy, .npz, .csv or .parquet file, or a folder of
        images.
    components : int
        Number of clusters to look for.
    out : Path
        Folder to save the model in. A genmix model that is there is replaced, anything else is left alone.
    model : str
        ganmm: a mixture of GANs (Yu and Zhou, 2018). dnnmm: one generator and one encoder for all clusters,
        with labels for a part of the data where there are some (Pande and Awate, 2020). The others are what
        these are compared with.
    labels : Path, optional
        For models that learn from labels (dnnmm, ss-kmeans, dynae, clustergan, label-spreading,
        self-training, supervised-only, fixmatch): a .csv, .npy, .npz or .parquet file with a whole number or
        a name for each row, -1 or nothing where the class is unknown (--labels-column names its column).
    preset : str, optional
        Start from published settings: ganmm-2018-paper, ganmm-2018-code, dnnmm-2020, dec-2016, ...
    seed : int
        The same seed gives the same model.
    max_iter : int, optional
        At most so many EM iterations.
    n_init : int, optional
        Number of restarts.
    device : str, optional
        auto, cpu or cuda.
    checkpoint : Path, optional
        Folder to keep the state of the fit in while it runs, of every model that is trained by steps. The
        same command again goes on where this one was stopped, and ends with the same model.
    set_ : tuple of str
        Any other parameter of the model, as name=value with a TOML value; can be given more than once. A
        table stands for settings that belong together: --set 'step={steps=40}',
        --set 'm_step={type="MStep", steps=5}'.
    progress : bool, optional
        Show a bar with the time left. Default: where a person is watching.
    """
    from genmix.base import persistence

    persistence.check_target(out)
    files.check_writable(out / persistence.DOCUMENT)
    chosen: dict[str, Any] = {"random_state": seed, "max_iter": max_iter, "n_init": n_init, "device": device}
    chosen = {name: value for name, value in chosen.items() if value is not None}
    if "verbose" in models.parameters(model):
        chosen["verbose"] = int(sys.stderr.isatty() if progress is None else progress)
    mixture = models.build(model, components, preset, chosen | settings.read_settings(set_))
    use = models.NAMED[model].labels
    if labels is None and use == "needed":
        raise ValueError(f"{model} learns from labels: give a file of them with --labels, -1 where unknown")
    if labels is not None and use == "none":
        learners = ", ".join(name for name, entry in models.NAMED.items() if entry.labels != "none")
        raise ValueError(f"--labels: {model} learns without labels; these learn from them: {learners}")
    resume: dict[str, Any] = {}
    if checkpoint is not None:
        if not models.keeps_checkpoints(mixture):
            able = [name for name in models.NAMED if models.keeps_checkpoints(models.find_class(name))]
            raise ValueError(f"--checkpoint: {model} keeps none; these do: {', '.join(able)}")
        if out.resolve() in (checkpoint.resolve(), *checkpoint.resolve().parents):
            raise ValueError(f"--checkpoint {checkpoint} lies in --out, which holds nothing but the model")
        files.check_writable(checkpoint / "iteration")
        resume["checkpoint"] = checkpoint
    dataset, known = (load_data(data, rows), None) if labels is None else load_labelled(data, rows, labels)
    start = time.perf_counter()
    mixture.fit(dataset.X, None if known is None else known.y, **resume)
    seconds = time.perf_counter() - start
    name_columns(mixture, dataset).save(out)
    end = "converged" if mixture.converged_ else "not converged"
    say(
        f"{type(mixture).__name__}: {len(dataset.X)} rows of {dataset.name}, {components} components, "
        f"{mixture.n_iter_} iterations ({end}), {seconds:.1f} s"
    )
    say("shares: " + " ".join(f"{share:.3f}" for share in mixture.weights_))
    if known is not None and known.names:
        say("classes: " + ", ".join(f"{k} is {name}" for k, name in enumerate(known.names)))
    if len(mixture.dead_components_):
        say(f"dead components: {', '.join(map(str, mixture.dead_components_))}")
    if twice := getattr(mixture, "duplicate_components_", []):
        say(f"components that share their items: {', '.join(f'{i} and {j}' for i, j in twice)}")
    say(f"saved in {out}")


@app.command(sort_key=2)
def predict(
    model: Path, data: str, /, *, out: Path, abstain: float = 0.0, rows: DataOptions = ALL_ROWS
) -> None:
    """Write each row's cluster, its certainty and its membership of every cluster.

    Parameters
    ----------
    model : Path
        Folder of a fitted model.
    data : str
        As in `genmix fit`.
    out : Path
        File to write: .csv or .parquet (columns label, certainty, membership_0, membership_1, ...), or .npz
        (arrays label, certainty, memberships).
    abstain : float
        Rows less certain than this, 0 to 1, get the label -1.
    """
    if not 0 <= abstain <= 1:
        raise ValueError(f"--abstain {abstain!r}: expected a certainty, 0 to 1")
    files.check_writable(out, (".csv", ".parquet", ".npz"))
    mixture, dataset = genmix.load(model), load_data(data, rows)
    memberships = mixture.predict_proba(match_columns(mixture, dataset).X)
    certainty = memberships.max(axis=1)
    label = memberships.argmax(axis=1)
    label[certainty < abstain] = -1  # as predict
    columns = {"label": label, "certainty": certainty}
    if out.suffix.lower() == ".npz":
        files.write_arrays(out, {**columns, "memberships": memberships})
    else:
        parts = {f"membership_{k}": memberships[:, k] for k in range(memberships.shape[1])}
        files.write_columns(out, columns | parts)
    undecided = f", {(label == -1).sum()} undecided" if abstain else ""
    say(f"{len(label)} rows, mean certainty {certainty.mean():.3f}{undecided}, written to {out}")


@app.command(sort_key=3)
def sample(
    model: Path,
    /,
    *,
    out: Path,
    n: Annotated[Whole, Parameter(name="--n")] = 16,
    component: Whole | None = None,
    seed: Whole | None = None,
) -> None:
    """Generate new rows or images from each component.

    Parameters
    ----------
    model : Path
        Folder of a fitted model.
    out : Path
        File to write: .png (images only, a row for each component), .npz (arrays X, component) or .csv
        (tables only).
    n : int
        Number of samples of each component.
    component : int, optional
        Only this component, counted from 0.
    seed : int, optional
        Default: the seed of the fit.
    """
    import numpy as np

    from genmix.cli.samples import write_samples

    files.check_writable(out, (".png", ".npz", ".csv"))
    if n < 1:
        raise ValueError(f"--n is {n}: at least 1 sample of each component is needed")
    mixture = genmix.load(model)
    if not hasattr(mixture, "sample"):
        raise ValueError(
            f"a {type(mixture).__name__} generates nothing; fit ganmm, dnnmm, gmm, vade or clustergan"
        )
    if seed is not None:
        mixture.set_params(random_state=seed)
    count = len(mixture.weights_)
    if component is not None and not 0 <= component < count:
        raise ValueError(f"--component is {component}: the model has the components 0 to {count - 1}")
    chosen = range(count) if component is None else [component]
    rows = {f"{k}  ({mixture.weights_[k]:.1%})": mixture.sample(n, component=k)[0] for k in chosen}
    write_samples(out, rows, {"component": np.repeat(chosen, n)})
    say(f"{n} samples of {len(chosen)} component(s) written to {out}")


@app.command(sort_key=4)
def interpolate(
    model: Path,
    /,
    *,
    out: Path,
    start: Annotated[Whole, Parameter(name="--from")],
    stop: Annotated[Whole, Parameter(name="--to")],
    steps: Whole = 8,
) -> None:
    """Walk from the mean of one component of a dnnmm model to that of another.

    Parameters
    ----------
    model : Path
        Folder of a fitted model.
    out : Path
        File to write: .png (images only), .npz (arrays X, share) or .csv (tables only).
    start : int
        Component to start from, counted from 0.
    stop : int
        Component to end at.
    steps : int
        Points on the way, both ends included.
    """
    import numpy as np

    from genmix.cli.samples import write_samples

    files.check_writable(out, (".png", ".npz", ".csv"))
    mixture = genmix.load(model)
    if not hasattr(mixture, "interpolate"):
        raise ValueError(f"a {type(mixture).__name__} has no latent space to walk in; fit --model dnnmm")
    walk = mixture.interpolate(start, stop, steps)
    write_samples(out, {f"{start} to {stop}": walk}, {"share": np.linspace(0, 1, len(walk))})
    say(f"{steps} steps from component {start} to {stop} written to {out}")


@app.command(sort_key=5)
def tune(
    data: str,
    /,
    *,
    components: Annotated[tuple[Whole, ...], Parameter(consume_multiple=True)],
    model: Literal["ganmm", "dnnmm"] = "dnnmm",
    labels: Path | None = None,
    trials: Whole = 20,
    cycle: tuple[float, float] | None = None,
    adversarial: tuple[float, float] | None = None,
    validation: float = 0.3,
    study: Path | None = None,
    out: Path | None = None,
    seed: Whole = 0,
    set_: Annotated[tuple[str, ...], Parameter(name="--set", show_default=False)] = (),
    rows: DataOptions = ALL_ROWS,
) -> None:
    """Choose the number of components, and weights of the loss, by labels held out or by stability.

    Parameters
    ----------
    data : str
        As in `genmix fit`.
    components : tuple of int
        Numbers to choose from: --components 4 5 6.
    model : {"ganmm", "dnnmm"}
        As in `genmix fit`.
    labels : Path, optional
        As in `genmix fit`; a part of them is held out to judge by. Without it two seeds are compared.
    trials : int
        How many choices to try; where only the number of components is searched, each once.
    cycle : tuple of float, optional
        Search lambda_1 between these two: --cycle 0.001 1.
    adversarial : tuple of float, optional
        Search lambda_2 between these two.
    validation : float
        Share of the labels held out.
    study : Path, optional
        File that keeps finished trials, so that the same command goes on where it was stopped.
    out : Path, optional
        Folder to save a model in, fitted with the best settings and all labels.
    seed : int
        Seed of the split, the search and the fits.
    set_ : tuple of str
        Any other parameter of the model, as in `genmix fit`.
    """
    from genmix.base import persistence
    from genmix.evaluation import tuning

    if out is not None:
        persistence.check_target(out)
        files.check_writable(out / persistence.DOCUMENT)
    if study is not None:
        files.check_writable(study)
    mixture = models.build(model, components[0], None, settings.read_settings(set_) | {"random_state": seed})
    dataset, known = (load_data(data, rows), None) if labels is None else load_labelled(data, rows, labels)
    y = None if known is None else known.y
    tuned = tuning.tune(
        mixture, dataset.X, y, n_components=components, n_trials=trials, cycle=cycle,
        adversarial=adversarial, validation=validation, random_state=seed, study=study, echo=say,
    )  # fmt: skip
    ranked = sorted(tuned.trials, key=lambda trial: -trial.score)
    table = [{**trial.parameters, "score": trial.score, "seconds": trial.seconds} for trial in ranked]
    say(f"\nscore: {tuned.judged_by}\n{text_table(table)}")
    if out is not None:
        name_columns(tuned.best.fit(dataset.X, y), dataset).save(out)
        say(f"the best, fitted on everything, is saved in {out}")


@app.command(sort_key=6)
def compare(
    data: str,
    /,
    *,
    components: Whole,
    out: Path,
    labels: Path | None = None,
    models_: Annotated[
        tuple[str, ...], Parameter(name="--models", consume_multiple=True, show_default=False)
    ] = ("all",),
    shown: float = 0.5,
    seeds: Annotated[tuple[Whole, ...], Parameter(consume_multiple=True)] = (0,),
    limit: float | None = None,
    set_: Annotated[tuple[str, ...], Parameter(name="--set", show_default=False)] = (),
    rows: DataOptions = ALL_ROWS,
) -> None:
    """Fit many models to DATA and write one table of scores, seconds and memory, and a report.

    Parameters
    ----------
    data : str
        As in `genmix fit`.
    components : int
        Number of clusters to look for.
    out : Path
        Folder for table.csv, report.html, the fitted models, and the runs that are finished: the same command
        goes on where it was stopped.
    labels : Path, optional
        As in `genmix evaluate`; -1 is unknown. Default: the labels of DATA, where it has some. A part is
        shown to the models that learn from labels, and all scores are of the others.
    models_ : tuple of str
        Names as in `genmix fit --model`, or all.
    shown : float
        Share of the labels that is shown.
    seeds : tuple of int
        Each model is fitted with each of them.
    limit : float, optional
        Seconds after which a fit is stopped.
    set_ : tuple of str
        Parameters of a model, as in `genmix fit`, with its name before: --set dec.max_iter=20.
    """
    from genmix.cli import comparing

    files.check_writable(out / "table.csv")
    dataset, known = load_labelled(data, rows, labels)
    comparing.run(
        dataset, components, None if known is None else known.y, out=out,
        names=None if models_ == ("all",) else models_, shown=shown, seeds=seeds, limit=limit,
        settings=comparing.read_model_settings(set_),
    )  # fmt: skip


@app.command(sort_key=7)
def evaluate(
    result: Path,
    data: str | None = None,
    /,
    *,
    labels: Path | None = None,
    rows: DataOptions = ALL_ROWS,
) -> None:
    """Compare clusters with known labels: scores, and a table of what is in each cluster.

    Parameters
    ----------
    result : Path
        Folder of a fitted model, or a file of predictions that `genmix predict` wrote.
    data : str, optional
        As in `genmix fit`. Needed with a model; its own labels are the known ones unless --labels is given.
    labels : Path, optional
        A .csv, .npy, .npz or .parquet file with one known label for each row, -1 or nothing where it is
        unknown (--labels-column names its column).
    """
    from genmix.evaluation import metrics

    dataset, answers = (None, None) if data is None else load_labelled(data, rows, labels)
    if data is None and labels is not None:
        answers = read_labels(labels, rows.labels_column)
    if answers is None:
        raise ValueError(
            "nothing to compare with: give DATA that has labels, or --labels FILE or --labels-column NAME"
        )
    predicted, memberships = read_predictions(result, dataset)
    known, names = answers.y, dict(enumerate(answers.names or ()))
    if len(known) != len(predicted):
        raise ValueError(f"{len(known)} labels for {len(predicted)} rows: they have to be of the same rows")
    labelled = (known != -1) & (predicted != -1)
    for what, without in (("label", known == -1), ("cluster, undecided", predicted == -1)):
        if without.any():
            say(f"left out: {without.sum()} rows without a {what} (-1)")
    if not labelled.any():
        raise ValueError("no row has both a label and a cluster: there is nothing to compare")
    known, predicted = known[labelled], predicted[labelled]
    scores = metrics.scores(known, predicted) | {"rand index": metrics.rand_index(known, predicted)}
    say(text_table([{"score": name, "value": value} for name, value in scores.items()]))
    if memberships is None:
        table = metrics.cluster_table(known, predicted)
    else:  # a model also knows of clusters that none of these rows is in
        certainty, clusters = memberships[labelled].max(axis=1), range(memberships.shape[1])
        table = metrics.cluster_table(known, predicted, certainty, clusters=clusters)
    say("\n" + text_table([row | {"label": names.get(row["label"], row["label"])} for row in table]))


@app.command(sort_key=8)
def report(
    model: Path, data: str, /, *, out: Path, title: str | None = None, rows: DataOptions = ALL_ROWS
) -> None:
    """Write one self-contained HTML page about a fitted model.

    Parameters
    ----------
    model : Path
        Folder of a fitted model.
    data : str
        As in `genmix fit`; labels, where it has them, are shown beside the clusters.
    out : Path
        The .html file to write.
    title : str, optional
        Heading of the page. Default: the model and the data set.
    """
    from genmix.report import write_report

    files.check_writable(out, (".html", ".htm"))
    mixture = genmix.load(model)
    dataset = match_columns(mixture, load_data(data, rows))
    title = title or f"{type(mixture).__name__} on {dataset.name}"
    write_report(
        mixture, dataset.X, out, y=dataset.y, title=title,
        class_names=dataset.class_names, feature_names=dataset.feature_names,
    )  # fmt: skip
    say(f"written to {out}")


@app.command(sort_key=9)
def datasets(*, data_dir: Path | None = None) -> None:
    """List the data sets known by name: size, licence, and where each comes from.

    Parameters
    ----------
    data_dir : Path, optional
        Folder to look in. Default: the environment variable GENMIX_DATA.
    """
    from genmix.datasets import catalogue

    columns = ("name", "n", "shape", "classes", "where", "available", "licence", "source")  # widest last
    say(text_table([{column: entry[column] for column in columns} for entry in catalogue(data_dir)]))


@app.command(sort_key=10)
def reproduce(
    item: str | None = None,
    /,
    *,
    out: Path = Path("results"),
    seeds: Whole | None = None,
    budget: str | None = None,
    smoke: bool = False,
    full: bool = False,
    device: str = "cpu",
    precision: str = "auto",
    page: Path | None = None,
) -> None:
    """Reproduce a table or figure of the papers: do the runs that are missing, then show it.

    Parameters
    ----------
    item : str, optional
        What to reproduce, "all", or a single experiment TASK/METHOD[@ALPHA]. Default: list the items and how
        much of each has been run.
    out : Path
        Folder for runs and figures. What is finished there is not done again.
    seeds : int, optional
        Runs of each method, seeds 0, 1, ... Default: as many as the item says.
    budget : str, optional
        Time to spend, such as 30m or 8h, on the runs that are missing most.
    smoke : bool
        Try the machinery in seconds: few items, tiny networks, kept apart in OUT/smoke.
    full : bool
        The papers' size, for a GPU, instead of what a CPU can do.
    device : str
        cpu, cuda, ...
    precision : str
        Arithmetic of the networks: float32, bfloat16, or auto, which is bfloat16 where that is fast.
    page : Path, optional
        Write the papers' numbers beside ours to this Markdown file, all tables to a second one beside it
        (docs/page.md, docs/page-details.md), and every figure to OUT.
    """
    from genmix.cli import reproducing
    from genmix.experiments.runs import Runs
    from genmix.experiments.tasks import Compute

    if smoke and full:
        raise ValueError("--smoke and --full are two sizes: give one of them")
    size: Literal["smoke", "cpu", "full"] = "smoke" if smoke else "full" if full else "cpu"
    runs, seconds = Runs(out / "smoke" if smoke else out), reproducing.read_budget(budget)
    compute = Compute(device, precision)
    if seeds is not None and seeds < 1:
        raise ValueError(f"--seeds {seeds}: expected at least 1")
    if page is not None:  # before hours of runs
        files.check_writable(page)
    if item is not None:
        files.check_writable(runs.folder / "runs" / "x")
        seeds = 1 if smoke and seeds is None else seeds
        reproducing.run(item, runs, size, seeds=seeds, budget=seconds, compute=compute)
    if page is not None:
        reproducing.write_page(page, runs, size)
    elif item is None:
        reproducing.print_list(runs, size)


@app.command(sort_key=11)
def demo(*, out: Path = Path("genmix-demo"), seed: Whole = 0) -> None:
    """Cluster two data sets that come with genmix, beside k-means and Gaussian mixtures, and write a report.

    Parameters
    ----------
    out : Path
        Folder to write report.html to.
    seed : int
        Seed of every model.
    """
    from genmix.cli.demo import run_demo

    files.check_writable(out / "report.html")
    run_demo(out, seed=seed)
