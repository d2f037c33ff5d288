"""What genmix 0.1 saved of a mixture, its settings above all, under today's names."""

from __future__ import annotations

import copy
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import genmix
from genmix import (
    Affine,
    ClassifierEStep,
    ColorJitter,
    DNNMixture,
    GANMixture,
    InfoMaxInit,
    MinMaxStep,
    MStep,
    NeighborSwap,
)
from genmix.base import persistence
from genmix.base.encoding import decode
from genmix.dnnmm.presets import PaperStep
from genmix.ganmm.presets import CodeEStep, CodeMStep, CodesEStep, PaperEStep, PaperMStep

# Arguments as 0.1.0 wrote them, copied from its files.
SHARED: dict[str, Any] = {
    "augmentation": "auto", "device": "auto", "n_components": 3, "n_init": 1, "networks": "auto",
    "precision": "float32", "random_state": None, "scaling": "auto", "start": "auto", "verbose": 0,
    "warm_start": False,
}  # fmt: skip
GAN: dict[str, Any] = {
    **SHARED, "e_step": "classifier", "epsilon": "auto", "m_step": "r1", "max_iter": 40, "tol": 0.005,
}  # fmt: skip
DNN: dict[str, Any] = {
    **SHARED, "em": "online", "generate": True, "latent_dim": None, "max_iter": 30, "min_iter": 20,
    "radius": 4.0, "step": None, "tol": 0.003, "weight_concentration": 1.1, "weight_step": "closed-form",
}  # fmt: skip
INFORMATION_START: dict[str, Any] = {
    "$type": "InformationStart", "steps": 1200, "heads": 5, "networks": 1,
    "partitions": {"$tuple": ["kmeans"]}, "teach_steps": 100, "rate": 0.001, "sharpness": 0.2, "balance": 2.0,
    "trial_steps": 0, "batch_size": 256,
}  # fmt: skip
CLASSIFIER: dict[str, Any] = {
    "$type": "ClassifierEStep", "steps": 20, "batch_size": 16, "loss": "cross_entropy", "single_class": False,
    "rate": 0.0001, "optimizer": "adam", "generated": True, "generated_weight": 1.0, "prior": "equal",
    "augment_generated": True, "real": "information", "real_batch_size": 256, "information_balance": 0.5,
    "balance": 0.0, "extras": "highest", "pool": None, "freeze_dense_output": False,
}  # fmt: skip
CRITIC: dict[str, Any] = {"$type": "CriticEStep", "centred": False, "extras": "highest", "pool": None}
M_STEP: dict[str, Any] = {
    "$type": "MStep", "objective": "r1", "steps": 100, "pretrain_steps": 200, "batch_size": 32,
    "latent_dim": 32, "average": 0.998, "revive": True,
}  # fmt: skip
R1: dict[str, Any] = {
    "$type": "Adversarial", "loss": "logistic", "penalty": "r1", "penalty_weight": 1.0, "penalty_every": 8,
    "clip": None, "clip_pretraining": True, "optimizer": "adam", "generator_rate": 0.001,
    "critic_rate": 0.001, "betas": {"$tuple": [0.0, 0.99]}, "critic_steps": 1,
}  # fmt: skip
WGAN: dict[str, Any] = {
    **R1, "loss": "wasserstein", "penalty": None, "clip": 0.01, "optimizer": "rmsprop",
    "generator_rate": 5e-05, "critic_rate": 5e-05, "critic_steps": 5,
}  # fmt: skip
MINMAX: dict[str, Any] = {
    "$type": "MinMaxStep", "steps": 100, "batch_size": 64, "labelled_batch_size": 32,
    "generated_batch_size": 160, "encoder_rate": 0.001, "encoder_average": 0.98, "information": 10.0,
    "generator_rate": 0.001, "discriminator_rate": 0.001, "cycle": 0.01, "encoder_cycle": 0.0,
    "adversarial": 1.0, "recognition": 0.3, "objective": {**R1, "penalty_weight": 0.2}, "conditional": True,
    "augment": True, "average": 0.998, "encoder_pretraining": 300, "generator_pretraining": 100,
    "discriminator_pretraining": 0,
}  # fmt: skip
JITTER: dict[str, Any] = {
    "$type": "ColorJitter", "brightness": 0.1, "balance": 0.15, "contrast": 0.3, "saturation": 0.3,
    "affine": {"$type": "Affine", "shift": 0.1, "rotate": 0.15, "scale": 0.15, "shear": 0.1, "flip": True},
}  # fmt: skip
GAN_PAPER: dict[str, Any] = {
    **GAN, "start": "random", "networks": "ganmm-2018", "scaling": "unit", "max_iter": 1000, "tol": None,
    "epsilon": {"$tuple": [{"$tuple": pair} for pair in ([50, 0.5], [100, 0.2], [200, 0.1], [201, 0.04])]},
    "e_step": {
        **CLASSIFIER, "steps": 10, "batch_size": 50, "rate": 5e-05, "optimizer": "rmsprop",
        "augment_generated": False, "real": None,
    },
    "m_step": {
        **M_STEP, "objective": WGAN, "steps": 10, "pretrain_steps": 500, "batch_size": 50, "latent_dim": None,
        "average": 0.0, "revive": False,
    },
}  # fmt: skip
GAN_CODE: dict[str, Any] = {
    **GAN_PAPER, "max_iter": 10_000,
    "epsilon": {
        "$tuple": [{"$tuple": pair} for pair in ([500, 0.5], [1000, 0.2], [2000, 0.1], [2001, 0.04])]
    },
    "e_step": {
        **GAN_PAPER["e_step"], "steps": 1, "loss": "double_softmax", "single_class": True,
        "extras": "proportional", "pool": 2048, "freeze_dense_output": True,
    },
    "m_step": {**GAN_PAPER["m_step"], "objective": {**WGAN, "clip_pretraining": False}, "steps": 1},
}  # fmt: skip
DNN_PAPER: dict[str, Any] = {
    **DNN, "augmentation": None, "start": "kmeans", "max_iter": 20, "tol": None, "weight_step": "gradient",
    "step": {
        **MINMAX, "steps": 20, "labelled_batch_size": 0, "generated_batch_size": 64, "encoder_rate": 0.0005,
        "encoder_average": 0.0, "information": 0.0, "cycle": 0.1, "encoder_cycle": None, "recognition": 0.0,
        "objective": {**R1, "penalty": None, "betas": {"$tuple": [0.5, 0.9]}}, "conditional": False,
        "augment": False, "average": 0.0, "encoder_pretraining": 500, "generator_pretraining": 500,
        "discriminator_pretraining": 100,
    },
}  # fmt: skip
OLD: dict[Any, dict[str, Any]] = {GANMixture: GAN, DNNMixture: DNN}
BOTH = pytest.mark.parametrize("kind", [GANMixture, DNNMixture])


def upgrade(kind: Any, parameters: dict[str, Any], **fitted: Any) -> dict[str, Any]:
    return kind._upgrade(copy.deepcopy({"parameters": parameters, "fitted": {"history_": [], **fitted}}))


def upgraded(kind: Any, parameters: dict[str, Any]) -> Any:
    """Make the model of today."""
    arguments = upgrade(kind, parameters)["parameters"]
    return kind(**{name: decode(value, kind._settings) for name, value in arguments.items()})


def assert_same(model: Any, expected: Any) -> None:
    ours, theirs = model.get_params(deep=False), expected.get_params(deep=False)
    assert ours == theirs
    assert [type(ours[name]) for name in ours] == [type(theirs[name]) for name in ours]


@pytest.fixture(autouse=True)
def _nothing_is_lost_without_a_test() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


# ---------------------------------------------------------------- GANMixture


def test_a_gan_mixture_of_defaults_is_one() -> None:
    assert_same(upgraded(GANMixture, GAN), GANMixture(3, m_step=MStep()))


def test_the_same_defaults_written_out() -> None:
    old = {**GAN, "start": INFORMATION_START, "e_step": CLASSIFIER, "m_step": M_STEP}
    expected = GANMixture(
        3,
        init=InfoMaxInit(
            steps=1200, n_candidates=1, n_heads=5, partitions=("kmeans",), screening_steps=0, lr=0.001,
            marginal_entropy_weight=2.0,
        ),
        e_step=ClassifierEStep(generated_weight=1.0, prior="equal"), m_step=MStep(),
    )  # fmt: skip
    assert_same(upgraded(GANMixture, old), expected)


@pytest.mark.parametrize(("preset", "old"), [("ganmm-2018-paper", GAN_PAPER), ("ganmm-2018-code", GAN_CODE)])
def test_the_published_gan_mixtures_are_the_presets_of_today(preset: str, old: dict[str, Any]) -> None:
    assert_same(upgraded(GANMixture, old), GANMixture.preset(preset, 3))


def test_the_published_code_for_codes_has_a_class_of_its_own() -> None:
    """Its output layer learns."""
    old = {**GAN_CODE, "e_step": {**GAN_CODE["e_step"], "freeze_dense_output": False}}
    assert_same(upgraded(GANMixture, old), GANMixture.preset("ganmm-2018-code", 3, e_step=CodesEStep()))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"steps": 7, "batch_size": 5, "rate": 0.3}, {"steps": 7, "batch_size": 5, "lr": 0.3}),
        ({"prior": "shares", "balance": 0.4}, {"prior": "shares", "sinkhorn_strength": 0.4}),
        ({"generated_weight": 0.2}, {"generated_weight": 0.2}),
        ({"generated": False, "generated_weight": 0.2}, {"generated_weight": 0.0}),
        ({"real": None}, {"real_weight": 0.0}),
    ],
)
def test_settings_of_the_classifier(changes: dict[str, Any], expected: dict[str, Any]) -> None:
    model = upgraded(GANMixture, {**GAN, "e_step": {**CLASSIFIER, **changes}})
    assert model.e_step == ClassifierEStep(**{"generated_weight": 1.0, "prior": "equal", **expected})


@pytest.mark.parametrize(("centred", "expected"), [(False, "critic"), (True, "standardized-critic")])
def test_critics_that_assign(centred: bool, expected: str) -> None:
    assert upgraded(GANMixture, {**GAN, "e_step": {**CRITIC, "centred": centred}}).e_step == expected
    assert upgraded(GANMixture, {**GAN, "e_step": "critic"}).e_step == "critic"


@pytest.mark.parametrize(
    ("objective", "expected"),
    [
        ("wgan-gp", "wgan-gp"), (R1, "r1"), ({**R1, "penalty_weight": 0.2}, "r1-weak"), (WGAN, "wgan"),
        ({**WGAN, "clip_pretraining": False}, "wgan-2018-code"),
        ({**R1, "loss": "hinge", "penalty": None}, "hinge"),
    ],
)  # fmt: skip
def test_objectives_have_names_today(objective: Any, expected: str) -> None:
    m_step = {**M_STEP, "objective": objective, "average": 0.5, "latent_dim": 9}
    model = upgraded(GANMixture, {**GAN, "m_step": m_step, "epsilon": 0.25})
    assert_same(
        model, GANMixture(3, m_step=MStep(objective=expected, ema_decay=0.5, latent_dim=9, epsilon=0.25))
    )


@pytest.mark.parametrize("objective", ["r1", "wgan", {**WGAN, "clip_pretraining": False}])
def test_gans_that_were_not_reinitialized_are_not(objective: Any) -> None:
    """They keep the epsilon of their model, which 0.1 had as an argument of its own."""
    model = upgraded(GANMixture, {**GAN, "m_step": {**M_STEP, "objective": objective, "revive": False}})
    assert type(model.m_step) is (CodeMStep if isinstance(objective, dict) else PaperMStep)
    assert not model.m_step.reinitialize and model.m_step.schedule == MStep().schedule
    assert (model.m_step.steps, model.m_step.batch_size, model.m_step.ema_decay) == (100, 32, 0.998)


def test_a_classifier_by_rmsprop_with_batches_of_all_classes_is_the_papers() -> None:
    model = upgraded(GANMixture, {**GAN, "e_step": {**GAN_PAPER["e_step"], "real": "information"}})
    assert model.e_step == PaperEStep(real_weight=1.0)
    old = {**GAN_CODE["e_step"], "steps": 4, "rate": 0.5}
    assert upgraded(GANMixture, {**GAN, "e_step": old}).e_step == CodeEStep(steps=4, lr=0.5)


# ---------------------------------------------------------------- DNNMixture


def test_a_dnn_mixture_of_defaults_is_one() -> None:
    assert_same(upgraded(DNNMixture, DNN), DNNMixture(3, m_step=MinMaxStep()))
    assert_same(upgraded(DNNMixture, {**DNN, "step": MINMAX}), DNNMixture(3, m_step=MinMaxStep()))


def test_the_published_dnn_mixture_is_the_preset_of_today() -> None:
    assert_same(upgraded(DNNMixture, DNN_PAPER), DNNMixture.preset("dnnmm-2020", 3))


def test_settings_of_a_minmax_step() -> None:
    old = {
        **MINMAX, "steps": 1, "batch_size": 2, "labelled_batch_size": 3, "generated_batch_size": 4,
        "encoder_rate": 0.5, "information": 6.0, "cycle": 7.0, "adversarial": 8.0, "recognition": 9.0,
        "average": 0.1, "encoder_pretraining": 11, "generator_pretraining": 12, "objective": R1,
    }  # fmt: skip
    expected = MinMaxStep(
        steps=1, batch_size=2, labelled_batch_size=3, generated_batch_size=4, encoder_lr=0.5,
        information_weight=6.0, cycle_weight=7.0, adversarial_weight=8.0, recognition_weight=9.0,
        ema_decay=0.1, encoder_pretrain_steps=11, generator_pretrain_steps=12, objective="r1", latent_dim=44,
    )  # fmt: skip
    assert upgraded(DNNMixture, {**DNN, "step": old, "latent_dim": 44}).m_step == expected


def test_dimensions_of_the_latent_space_are_a_setting_of_the_step() -> None:
    assert upgraded(DNNMixture, {**DNN, "latent_dim": 9}).m_step == MinMaxStep(latent_dim=9)
    model = upgraded(DNNMixture, {**DNN_PAPER, "latent_dim": 9})
    assert model.m_step == PaperStep(latent_dim=9)


@pytest.mark.parametrize("changes", [{"conditional": False}, {"augment": False}])
def test_a_step_with_one_half_of_the_published_choices_is_not_the_published_one(changes: Any) -> None:
    with pytest.warns(UserWarning, match=f"{next(iter(changes))}=False"):
        assert type(upgraded(DNNMixture, {**DNN, "step": {**MINMAX, **changes}}).m_step) is MinMaxStep


# ---------------------------------------------------------------- both


@BOTH
@pytest.mark.parametrize(
    ("start", "init"), [("auto", "auto"), ("information", "infomax"), ("kmeans", "kmeans")]
)
def test_how_it_begins(kind: Any, start: str, init: str) -> None:
    assert upgraded(kind, {**OLD[kind], "start": start}).init == init
    assert upgraded(kind, {**OLD[kind], "start": start, "warm_start": True}).init == "fitted"


@BOTH
def test_components_that_it_begins_with(kind: Any) -> None:
    given = {"$array": [0, 2, 1, 1], "dtype": "int64"}
    np.testing.assert_array_equal(upgraded(kind, {**OLD[kind], "start": given}).init, [0, 2, 1, 1])


@BOTH
def test_settings_of_information_maximisation(kind: Any) -> None:
    old = {
        **INFORMATION_START, "steps": 90, "heads": 2, "networks": 4, "partitions": {"$tuple": []},
        "rate": 0.25, "balance": 1.5, "trial_steps": 30,
    }  # fmt: skip
    expected = InfoMaxInit(
        steps=90, n_heads=2, n_candidates=4, partitions=(), lr=0.25, marginal_entropy_weight=1.5,
        screening_steps=30,
    )  # fmt: skip
    assert upgraded(kind, {**OLD[kind], "start": old}).init == expected


@BOTH
@pytest.mark.parametrize(
    ("old", "today"),
    [
        ({"$type": "Neighbors", "n_neighbors": 4, "noise": 0.25}, NeighborSwap(4, 0.25)),
        (JITTER["affine"], Affine(0.1, 0.15, 0.15, 0.1, flip=True)),
        (JITTER, ColorJitter()),
        (
            {**JITTER, "brightness": 0.2, "balance": 0.3, "contrast": 0.6, "saturation": 0.6},
            ColorJitter(strength=2.0),
        ),
        (None, None),
        ("auto", "auto"),
    ],
    ids=["Neighbors", "Affine", "ColorJitter", "stronger", "None", "auto"],
)  # fmt: skip
def test_augmentations(kind: Any, old: Any, today: Any) -> None:
    assert upgraded(kind, {**OLD[kind], "augmentation": old}).augmentation == today


@BOTH
def test_jitter_of_other_proportions_is_told(kind: Any) -> None:
    with pytest.warns(UserWarning, match="one strength today"):
        found = upgraded(kind, {**OLD[kind], "augmentation": {**JITTER, "brightness": 0.4}})
    assert found.augmentation == ColorJitter()


@BOTH
def test_options_of_networks(kind: Any) -> None:
    old = {
        "generator": {"kind": "mlp", "hidden": {"$tuple": [8, 9]}, "squash": False, "slope": 0.1},
        "critic" if kind is GANMixture else "encoder": "mlp",
    }
    model = upgraded(kind, {**OLD[kind], "networks": old})
    options = {"kind": "mlp", "hidden": (8, 9), "sigmoid_output": False, "negative_slope": 0.1}
    assert model.networks == {**old, "generator": options}


@BOTH
@pytest.mark.parametrize("networks", [{"$callable": "mine"}, {"generator": {"$callable": "mine"}}])
def test_functions_of_the_user_are_still_named(kind: Any, networks: Any) -> None:
    assert upgrade(kind, {**OLD[kind], "networks": networks})["parameters"]["networks"] == networks
    with pytest.raises(genmix.ModelFileError, match="a function of your own, mine"):
        upgraded(kind, {**OLD[kind], "networks": networks})


@BOTH
def test_what_was_fitted(kind: Any) -> None:
    history = [{"iteration": 1, "revived": [2]}, {"iteration": 2, "revived": []}]
    meta = upgrade(kind, OLD[kind], history_=history, criterion_=0.5, n_iter_=2)
    assert meta["fitted"] == {
        "history_": [{"iteration": 1, "reinitialized": [2]}, {"iteration": 2, "reinitialized": []}],
        "selection_score_": 0.5,
        "n_iter_": 2,
    }


# ---------------------------------------------------------------- what is constant today


@pytest.mark.parametrize(
    ("kind", "argument", "settings", "name", "value"),
    [
        *(
            (kind, "start", INFORMATION_START, name, value)
            for kind in (GANMixture, DNNMixture)
            for name, value in {"teach_steps": 9, "sharpness": 0.5, "batch_size": 64}.items()
        ),
        *(
            (GANMixture, "e_step", CLASSIFIER, name, value)
            for name, value in {
                "loss": "label_smoothing", "single_class": True, "augment_generated": False,
                "real": "confident", "real_batch_size": 64, "information_balance": 2.0,
                "extras": "proportional", "pool": 99, "freeze_dense_output": True,
            }.items()
        ),
        (GANMixture, "e_step", CRITIC, "extras", "proportional"),
        (GANMixture, "e_step", CRITIC, "pool", 99),
        *(
            (DNNMixture, "step", MINMAX, name, value)
            for name, value in {
                "encoder_average": 0.5, "encoder_cycle": None, "conditional": False, "augment": False,
                "discriminator_pretraining": 5,
            }.items()
        ),
        *(
            (DNNMixture, None, DNN, name, value)
            for name, value in {
                "radius": 3.0, "em": "epoch", "weight_step": "exact", "weight_concentration": 1.0,
                "min_iter": 0,
            }.items()
        ),
    ],
)  # fmt: skip
def test_settings_that_are_none_today_are_named(
    kind: Any, argument: str | None, settings: dict[str, Any], name: str, value: Any
) -> None:
    changed = {**settings, name: value}
    old = changed if argument is None else {**OLD[kind], argument: changed}
    with pytest.warns(UserWarning, match="genmix 0.1 saved settings that are none today: ") as caught:
        upgraded(kind, old)
    assert f" {name}={value!r};" in str(caught[0].message) and len(caught) == 1


@pytest.mark.parametrize("name", ["generator", "discriminator"])
def test_learning_rates_of_a_minmax_step_are_its_objectives(name: str) -> None:
    with pytest.warns(UserWarning, match=rf"today: {name}_\w+=0.5;"):
        assert upgraded(DNNMixture, {**DNN, "step": {**MINMAX, f"{name}_rate": 0.5}}).m_step.lr is None


@pytest.mark.parametrize("kind", [GANMixture, DNNMixture])
def test_an_objective_without_a_name_gives_way_to_r1(kind: Any) -> None:
    argument, step = ("m_step", M_STEP) if kind is GANMixture else ("step", MINMAX)
    old = {**OLD[kind], argument: {**step, "objective": {**R1, "penalty_weight": 0.7}}}
    with pytest.warns(UserWarning, match="today: objective;"):
        assert upgraded(kind, old).m_step.objective == "r1"


def test_all_that_is_lost_is_said_at_once() -> None:
    old = {**DNN, "radius": 3.0, "start": {**INFORMATION_START, "sharpness": 0.5}, "em": "epoch"}
    with pytest.warns(UserWarning, match="none today") as caught:
        upgraded(DNNMixture, old)
    assert len(caught) == 1
    assert all(text in str(caught[0].message) for text in ("radius=3.0", "sharpness=0.5", "em='epoch'"))


def test_a_file_of_0_1_is_brought_to_today_and_the_warning_points_at_its_reader(tmp_path: Path) -> None:
    X = np.random.default_rng(0).normal(size=(30, 2))
    dense = {"kind": "mlp", "hidden": (4,)}
    networks = dict.fromkeys(("encoder", "generator", "discriminator"), dense)
    step = MinMaxStep(steps=1, batch_size=4, generated_batch_size=4, encoder_pretrain_steps=1,
                      generator_pretrain_steps=1, latent_dim=4)  # fmt: skip
    model = DNNMixture(3, init="kmeans", m_step=step, networks=networks, max_iter=1, tol=None, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X)
    folder = model.save(tmp_path / "model")
    document = json.loads((folder / "model.json").read_text())
    document["schema"], old = 1, {"kind": "mlp", "hidden": {"$tuple": [4]}, "slope": 0.0}
    document["meta"]["parameters"] = {
        **DNN, "networks": dict.fromkeys(networks, old),
        "latent_dim": 4, "radius": 2.0,
    }  # fmt: skip
    fitted = document["meta"]["fitted"]
    fitted["criterion_"] = fitted.pop("selection_score_")
    document["document_sha256"] = persistence._checksum(document)
    (folder / "model.json").write_text(json.dumps(document))
    with pytest.warns(UserWarning, match=r"radius=2.0; the model answers as it did") as caught:
        again = genmix.load(folder)
    assert [Path(one.filename).name for one in caught] == [Path(__file__).name]
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))
    assert again.selection_score_ == model.selection_score_ and again.m_step == MinMaxStep(latent_dim=4)
