"""What can be reproduced: the items of both papers, and studies of our own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from genmix.experiments import paper
from genmix.experiments.methods import CLUSTERGAN_STEPS, DEEP, DYNAE_STEPS, GANMM_CHOICES, METHODS
from genmix.experiments.running import Experiment, Job
from genmix.experiments.tasks import TASKS, Size

Kind = Literal["scores", "clusters", "samples", "curves", "maps", "walks"]
#: Whose method a row is: ours, the paper's by its preset, a rival of the paper, a row added to be fair, ours
#: without what makes it this model.
Role = Literal["ours", "paper", "rival", "fair", "control"]

#: Kinds of items that are pictures.
PICTURED = ("samples", "curves", "maps", "walks")
#: What a kind of item shows besides scores.
_NEEDS: dict[str, tuple[str, ...]] = {
    "clusters": ("confusion",), "samples": ("samples",), "maps": ("encodings",), "walks": ("walk",),
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """A method in an item.

    Parameters
    ----------
    method : str
        Name in `METHODS`.
    role : {"ours", "paper", "rival", "fair", "control"}
        Whose it is.
    printed : str
        Name of its row in the paper, where there is one.
    """

    method: str
    role: Role
    printed: str = ""


@dataclass(frozen=True)
class Item:
    """One table or figure.

    Parameters
    ----------
    name : str
        For the command line.
    source : str
        Where it stands.
    title : str
        What it shows.
    kind : {"scores", "clusters", "samples", "curves", "maps", "walks"}
        How it is shown.
    tasks : tuple of str
        Names in `TASKS`; for "curves", panels.
    rows : tuple of Row
        Methods.
    alphas : tuple of float
        Shares of the labels.
    seeds : int
        Runs of each, seeds 0, 1, ...
    reduced : str
        What is smaller than in the paper on a CPU.
    full : dict
        Task of the paper's size that takes the place of a smaller one.
    elsewhere : dict
        Task on which a method runs instead of the item's own; its row stands among those of the first.
    drawn : str
        What can be said of the paper's figure, which prints no number.
    discussion : str
        Where a preset differs from the paper, and why, as we think.
    """

    name: str
    source: str
    title: str
    kind: Kind
    tasks: tuple[str, ...]
    rows: tuple[Row, ...]
    alphas: tuple[float, ...] = (0.0,)
    seeds: int = 5
    reduced: str = ""
    full: dict[str, str] = field(default_factory=dict)
    elsewhere: dict[str, str] = field(default_factory=dict)
    drawn: str = ""
    discussion: str = ""

    @property
    def heading(self) -> str:
        """Its heading on a page."""
        return self.title if self.source == "genmix" else f"{self.source}: {self.title}"

    def experiments(self, size: Size) -> list[Experiment]:
        """All experiments the item shows; a trial takes the fewest labels only."""
        needs = _NEEDS.get(self.kind, ())
        alphas = self.alphas[:1] if size == "smoke" else self.alphas
        found = [
            Experiment(
                self._at(self.elsewhere.get(row.method, task), size),
                row.method,
                alpha if METHODS[row.method].learns_labels else 0.0,
                needs,
            )
            for task in self.tasks
            for alpha in alphas
            for row in self.rows
        ]
        return list(dict.fromkeys(found))

    def tasks_at(self, size: Size) -> list[str]:
        """Names of the tasks, the paper's own where the full size is asked for."""
        return [self._at(task, size) for task in self.tasks]

    def task_shown(self, experiment: Experiment, size: Size) -> str:
        """Name of the task among whose rows an experiment stands."""
        return self.tasks_at(size)[0] if experiment.method in self.elsewhere else experiment.task

    def _at(self, task: str, size: Size) -> str:
        return self.full.get(task, task) if size == "full" else task

    @property
    def public(self) -> Item:
        """What may be shown of it to everybody: all, but pictures of tasks whose images may not."""
        if self.kind == "curves":
            return self
        return replace(self, tasks=tuple(task for task in self.tasks if TASKS[task].may_show))

    @property
    def printed(self) -> dict[str, dict[str, tuple[float, float]]]:
        """The paper's numbers by their row."""
        return paper.GANMM.get(self.source.removeprefix("GANMM, "), {})


_OURS, _PAPER = Row("ganmm", "ours"), Row("ganmm-2018-code", "paper", "GANMM")
_EM = (Row("ganmm-em-raw", "rival", "GANMM(EM)"), Row("ganmm-em-centred", "rival", "GANMM(EM)"))
_RAW = (
    _OURS, _PAPER, Row("gmm-full", "rival", "GMM"), Row("dec-without-autoencoder", "rival", "DEC"), *_EM,
    Row("dec", "fair"), Row("kmeans", "fair"), Row("gmm-by-bic", "fair"),
    Row("control-without-gan", "control"),
)  # fmt: skip
_CODES = (
    _OURS, _PAPER, Row("gmm-full", "rival", "GMM"), Row("dec", "rival", "DEC"), *_EM,
    Row("kmeans", "fair"), Row("gmm-by-bic", "fair"),
)  # fmt: skip
_SS = (
    Row("dnnmm-clusters", "ours"), Row("dnnmm-2020", "paper"), Row("clustergan-ss", "rival"),
    Row("dynae-ss", "rival"), Row("labels-only", "fair"), Row("fixmatch", "fair"),
    Row("dnnmm-2020-kmeans", "fair"),
)  # fmt: skip
_GENERATING = (
    Row("dnnmm", "ours"), Row("dnnmm-2020", "paper"), Row("clustergan-ss", "rival"), Row("dynae-ss", "rival"),
)  # fmt: skip
_MNIST_SIZE = "10,000 images (the test split) instead of 60,000"
_PARTS = ("", "-half", "-tenth", "-codes")
_FULL = {f"mnist-test{part}": f"mnist-60000{part}" for part in _PARTS}
#: What can be said of figures without numbers.
_BELOW = "the preset is below the curve drawn"
_MERGED = "components of the preset merge"
#: What the published method does on a CPU says nothing of it.
_HARDLY_BEGUN = (
    "The preset's rows are no reproduction of GANMM on images: the published code runs 200,000 iterations "
    "with steps of 5e-5, days on two cores, and after 100 of them its generators still make noise. Compare "
    "with the paper's own numbers; `--full` runs the published size on a GPU."
)
#: Why the preset of DNN-MM is where it is.
_MERGING = (
    "The preset is below what the paper draws. In our reading of the paper (it gives no networks, rates or "
    "lengths) generator and discriminator undo what EM had gained (`study-stages`), probably because the "
    "cycle error moves the encoder, and components merge. Our default keeps the cycle out of the encoder's "
    "gradient."
)
_FAINT_START = (
    f"{_MERGING} On these images it also begins with little: the k-means of pixels that its encoder learns "
    "first (the row of semi-supervised k-means)."
)
#: What runs of a rival do not have yet.
_TWO_PASSES = (
    "FixMatch's rows were run when the targets of its unlabelled images came from a pass of their own; today "
    "all go through the network together."
)
_WITHOUT_G = "our model without its generator (`generate=False`), which clusters alike"

GANMM_ITEMS = (
    Item("ganmm-table-1", "GANMM, Table 1", "Clustering raw MNIST", "scores", ("mnist-test",), _RAW,
         reduced=_MNIST_SIZE, full=_FULL, discussion=_HARDLY_BEGUN),
    Item("ganmm-table-2", "GANMM, Table 2", "Label, size and purity of every cluster of one run",
         "clusters", ("mnist-test",), _RAW[:5], seeds=1, reduced=_MNIST_SIZE, full=_FULL,
         discussion=_HARDLY_BEGUN),
    Item("ganmm-figure-2", "GANMM, Figure 2", "Images generated by every component", "samples",
         ("mnist-test",), (_OURS, _PAPER, _EM[0]), seeds=1, reduced=_MNIST_SIZE, full=_FULL,
         drawn="the paper draws digits, the preset still makes noise", discussion=_HARDLY_BEGUN),
    Item("ganmm-figures-3-5", "GANMM, Figures 3-5", "Scores against the share of the data that is fitted",
         "curves", ("mnist-test-tenth", "mnist-test-half", "mnist-test"), _RAW[:5], reduced=_MNIST_SIZE,
         full=_FULL, drawn=_BELOW, discussion=_HARDLY_BEGUN),
    Item("ganmm-table-3", "GANMM, Table 3", "Clustering the codes of a stacked autoencoder", "scores",
         ("mnist-test-codes",), _CODES,
         reduced=f"{_MNIST_SIZE}; an autoencoder trained for 4,000 steps, denoising, instead of 300,000",
         full=_FULL, elsewhere={"dec": "mnist-test"},
         discussion="DEC's row is that of the images: it begins with the autoencoder that makes the codes. "
         "Codes of one seed differ from processor to processor, and the scores with them: ours, the Gaussian "
         "mixtures and k-means stand on the same codes; the other rows were made in other sessions. Seeds 1 "
         "to 4 of our row were run when partitions still competed by mutual information in the end; seed 0 "
         "was run again since (purity .9563, before .9564). The noise of our views of tables (half the "
         "distance to a neighbour; the whole one gave .855, .775 and "
         ".823 here), the number of networks on trial and how they compete were chosen on small tables of "
         "scikit-learn, on groups made by hand and on codes like these, whose labels were seen. Nothing was "
         "chosen by the scores of Tables 4 and 5, but those of earlier variants were known on the way: half "
         "the noise was known to raise them when the E-step was made to keep unequal groups under it."),
    Item("ganmm-table-4", "GANMM, Table 4", "Image Segmentation", "scores", ("image-segmentation",), _RAW,
         discussion="The preset stays below the paper's GANMM. It ran a twentieth of the published "
         "iterations. The paper's spread of runs, read as a variance, does not cover the difference: it is "
         "about two such standard deviations. The plain Gaussian mixture does far better than the paper's."),
    Item("ganmm-table-5", "GANMM, Table 5", "Artificial Characters", "scores",
         ("artificial-characters-ganmm", "artificial-characters"), _RAW,
         discussion="The classes are hardly groups: no method has a purity above .31. A Gaussian mixture "
         "whose covariance is chosen by BIC has the higher NMI on GANMM's version because its components may "
         "be of very unequal size, as we think; our start asks for nearly equal ones, which is what raises "
         "Table 4."),
)  # fmt: skip
DNNMM_ITEMS = (
    Item("dnnmm-figure-2", "DNN-MM, Figure 2", "MNIST, five and seven digits, against the share of labels",
         "curves", ("mnist-0-4", "mnist-0-6"), _SS, alphas=(0.1, 0.3, 0.5, 0.7, 0.9), drawn=_BELOW,
         reduced=f"5 subsets instead of 15; {_WITHOUT_G}",
         discussion=f"{_MERGING} Where FixMatch or the labels alone are above our default, it is by fewer "
         "than three of the 500 to 2,500 items without a label, in the mean of the subsets."),
    Item("dnnmm-figure-3", "DNN-MM, Figure 3", "Encodings of MNIST digits, t-SNE", "maps", ("mnist-0-4",),
         _GENERATING, alphas=(0.1, 0.5), seeds=1, drawn=_MERGED,
         discussion=_MERGING),
    Item("dnnmm-figure-4", "DNN-MM, Figure 4", "From the mean of digit 1 to that of digit 3", "walks",
         ("mnist-0-4",), _GENERATING, alphas=(0.1,), seeds=1, drawn=_MERGED, discussion=_MERGING),
    Item("dnnmm-figure-5", "DNN-MM, Figure 5", "Noisy CIFAR-10 and CelebA against the share of labels",
         "curves", ("cifar10-3-red-noise", "cifar10-5-red-noise", "celeba-5-noise"), _SS,
         alphas=(0.1, 0.3, 0.5), seeds=3, drawn=_BELOW, reduced=f"3 subsets instead of 15; {_WITHOUT_G}",
         discussion=f"{_FAINT_START} {_TWO_PASSES}"),
    Item("dnnmm-figure-6", "DNN-MM, Figure 6", "Encodings of noisy CIFAR-10 and CelebA, t-SNE", "maps",
         ("cifar10-3-red-noise", "celeba-5-noise"),
         (Row("dnnmm-clusters", "ours"), *_GENERATING[1:]), alphas=(0.5,), seeds=1,
         drawn=_MERGED,
         discussion=f"{_MERGING} Shown are the maps of CIFAR-10; a picture with those of CelebA is "
         "written to `figures-not-to-be-published` beside `figures`, where the runs have been made."),
)  # fmt: skip


def _study(name: str, title: str, tasks: Sequence[str], methods: Sequence[str], **more: object) -> Item:
    rows = tuple(Row(method, "fair") for method in methods)
    return Item(name, "genmix", title, "scores", tuple(tasks), rows, **more)  # type: ignore[arg-type]


_TABLES = ("image-segmentation", "artificial-characters-ganmm")
STUDIES = (
    _study("study-classical", "How well plain mixtures do", (*_TABLES, "mnist-test", "digits"),
           [f"gmm-{kind}{start}" for kind in ("full", "tied", "diag", "spherical")
            for start in ("", "-one-start")]),
    _study("study-choices", "One choice of GANMixture undone at a time", ("image-segmentation", "mnist-test"),
           ["ganmm", "control-without-gan", *GANMM_CHOICES]),
    _study("study-presets", "The two readings of the GANMM paper", _TABLES,
           ["ganmm-2018-code", "ganmm-2018-paper"]),
    _study("study-rivals", "Deep clustering without labels", ("mnist-test",), ["ganmm", *DEEP]),
    _study("study-clustergan", "ClusterGAN against its generator steps", ("mnist-test",),
           [*list(CLUSTERGAN_STEPS)[:2], "clustergan", *list(CLUSTERGAN_STEPS)[2:]], seeds=1,
           discussion="The published code trains for 500,000 steps, to a purity of .91."),
    _study("study-dynae", "DynAE against its steps of pretraining", ("mnist-test",),
           ["dynae", *DYNAE_STEPS], seeds=1,
           discussion="The published code pretrains for 130,000 steps; on these images its codes then give "
           "an accuracy of .957 to k-means, and DynAE ends at .983."),
    _study("study-digits", "Small images", ("digits",), ["ganmm", "control-without-gan", "kmeans"]),
    _study("study-labels", "What labels add", ("mnist-0-6",), ["dnnmm-clusters"],
           alphas=(0.0, 0.01, 0.05, 0.1, 0.3, 0.5)),
    _study("study-no-labels", "DNN-MM without labels", ("mnist-0-4", "mnist-0-6", "mnist-0-9"),
           ["dnnmm-clusters"]),
    _study("study-generator", "The full model", ("mnist-0-4", "mnist-0-6"), ["dnnmm", "labels-only"],
           alphas=(0.1,)),
    _study("study-few-labels", "Every way to use a tenth of the labels", ("mnist-0-6",),
           ["dnnmm-clusters", "labels-only", "fixmatch", "label-spreading", "self-training", "clustergan-ss",
            "clustergan-ss-2000-steps", "dynae-ss"], alphas=(0.1,), discussion=_TWO_PASSES),
    _study("study-stages", "The published procedure stage by stage", ("mnist-0-4", "mnist-0-6"),
           ["dnnmm-2020-kmeans", "dnnmm-2020-encoder", "dnnmm-2020-em", "dnnmm-2020"], alphas=(0.1,),
           discussion=_MERGING),
    _study("study-imbalance", "Groups of unequal size", ("mnist-imbalanced",), ["dnnmm-clusters"],
           alphas=(0.0, 0.1)),
    _study("study-imbalance-starts", "Groups of unequal size without labels", ("mnist-imbalanced",),
           ["dnnmm-clusters", "balance-1.2", "balance-1", "balance-0.7", "start-kmeans-ss", "start-gmm-ss",
            "start-spectral-ss", "over-clustered"], seeds=1,
           discussion="Nothing recovers the true shares (.71, .21, .07): information maximisation splits the "
           "large group whatever its balance, classical starts swallow the small one, and merging by overlap "
           "of views ends with a single group."),
    _study("study-imbalance-table", "Rows in groups of unequal size, far apart",
           ("gaussian-groups", "stretched-groups"), ["ganmm", "dnnmm-clusters", "gmm-full", "kmeans"],
           discussion="The start of `GANMixture` has the groups by a Gaussian mixture, learned among "
           "others, and EM keeps them. It did not while generated rows of all components counted alike: "
           "small components then took from the large one until all were equal (ARI .05 on the first data). "
           "`DNNMixture` keeps the groups, or gives the smallest to the largest."),
)  # fmt: skip
PAPERS = (*GANMM_ITEMS, *DNNMM_ITEMS)
ITEMS: dict[str, Item] = {item.name: item for item in (*PAPERS, *STUDIES)}


def for_all_items(jobs: Sequence[Job], size: Size) -> list[Job]:
    """Do each run once, and keep of it what any item shows."""
    asked = [(job.experiment, job.seed) for job in jobs]
    asked += [
        (e, seed) for item in ITEMS.values() for e in item.experiments(size) for seed in range(item.seeds)
    ]
    needs: dict[tuple[str, int], dict[str, None]] = {}
    for experiment, seed in asked:
        needs.setdefault((experiment.name, seed), {}).update(dict.fromkeys(experiment.needs))
    once: dict[tuple[str, int], Job] = {}
    for job in jobs:
        once.setdefault((job.experiment.name, job.seed), job)
    return [
        replace(job, experiment=replace(job.experiment, needs=tuple(needs[key]))) for key, job in once.items()
    ]


__all__ = [
    "DNNMM_ITEMS",
    "GANMM_ITEMS",
    "ITEMS",
    "PAPERS",
    "PICTURED",
    "STUDIES",
    "Item",
    "Row",
    "for_all_items",
]
