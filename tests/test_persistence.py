from __future__ import annotations

import hashlib
import json
import os
import pickle
import random
import shutil
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import genmix
from genmix.base import files, persistence, registry
from genmix.base.persistence import ModelFileError, load, save


class FakeModel:
    """The smallest model that can be saved: one tensor, one view of it, some parameters."""

    def __init__(self, weight: torch.Tensor, meta: dict[str, Any]) -> None:
        self.weight, self.meta = weight, meta

    def _export(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        return {"weight": self.weight, "turned": self.weight.T}, self.meta

    @classmethod
    def _restore(cls, tensors: dict[str, torch.Tensor], meta: dict[str, Any]) -> FakeModel:
        if tensors["weight"].shape != (3, 4):
            raise ValueError("weight must have shape (3, 4)")
        return cls(tensors["weight"], meta)

    @classmethod
    def _upgrade(cls, meta: dict[str, Any]) -> dict[str, Any]:
        return {**meta, "n_components": meta["components"]}


META = {
    "n_components": 3,
    "tol": 0.1,
    "history": [{"seconds": 1 / 3, "changed": 1e-9}],
    "name": "é ☃",
    "x": None,
}


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = registry.Model(None, "FakeModel", __name__)
    monkeypatch.setitem(registry.MODELS, "FakeModel", entry)


@pytest.fixture
def model() -> FakeModel:
    return FakeModel(torch.randn(3, 4, generator=torch.Generator().manual_seed(0)), dict(META))


@pytest.fixture
def folder(tmp_path: Path, model: FakeModel) -> Path:
    return save(model, tmp_path / "model")


def tensors(folder: Path) -> Path:
    """The file of tensors that model.json names."""
    return folder / json.loads((folder / "model.json").read_text())["tensors"]


def edit(folder: Path, **changes: Any) -> None:
    """Forge a model.json whose checksum is right."""
    path = folder / "model.json"
    document = json.loads(path.read_text()) | changes
    document["document_sha256"] = persistence._checksum(document)
    path.write_text(json.dumps(document))


def test_round_trip_is_exact(folder: Path, model: FakeModel) -> None:
    again = load(folder)
    assert type(again) is FakeModel
    assert torch.equal(again.weight, model.weight) and again.weight.dtype == model.weight.dtype
    assert again.meta == META
    checksum = hashlib.sha256(tensors(folder).read_bytes()).hexdigest()
    names = [f"model-{checksum[:16]}.safetensors", "model.json"]
    assert sorted(os.listdir(folder)) == names
    assert load(str(folder)).meta == META


def test_the_document_says_what_wrote_it(folder: Path) -> None:
    document = json.loads((folder / "model.json").read_text())
    assert (document["format"], document["schema"], document["class"]) == ("genmix-model", 2, "FakeModel")
    assert set(document["versions"]) == {"genmix", "torch", "scikit-learn", "numpy", "python"}
    assert document["versions"]["python"] == sys.version.split()[0]
    assert document["versions"]["genmix"] == genmix.__version__


def test_saving_makes_parents_and_replaces_a_model(tmp_path: Path, model: FakeModel) -> None:
    target = tmp_path / "deep" / "er" / "model"
    save(model, target)
    model.meta = {"n_components": 9}
    assert save(model, target) == target
    assert load(target).meta == {"n_components": 9}
    assert os.listdir(target.parent) == ["model"]
    (tmp_path / "empty").mkdir()
    save(model, tmp_path / "empty")
    assert load(tmp_path / "empty").meta == {"n_components": 9}


def test_what_genmix_0_1_saved_goes_through_the_upgrade_of_its_class(folder: Path) -> None:
    edit(folder, schema=1, meta={"components": 7})
    assert load(folder).meta == {"components": 7, "n_components": 7}
    edit(folder, meta={"no such": 7})
    with pytest.raises(ModelFileError, match="usable FakeModel: 'components'"):
        load(folder)
    edit(folder, schema=2)
    assert load(folder).meta == {"no such": 7}


def test_arguments_that_the_class_does_not_have_are_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="'epsilon' is no argument of a FakeModel"):
        load(folder, epsilon=1)


def test_relative_paths(tmp_path: Path, model: FakeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert save(model, "model") == Path("model")
    save(model, "./model/")
    save(model, "model/../model")
    assert load("model").meta == META


# ---------------------------------------------------------------- whole or not at all


@pytest.mark.parametrize("call", ["fsync", "replace", "unlink"])
@pytest.mark.parametrize("nth", [1, 2, 3, 4])
@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("first", [True, False])
def test_a_failed_save_leaves_the_old_model_or_the_new_one(
    folder: Path,
    model: FakeModel,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    nth: int,
    failure: BaseException,
    first: bool,
) -> None:
    """Until the document is replaced, by the second `os.replace`, it is the old one."""
    if first:
        shutil.rmtree(folder)
    calls, replaced = iter(range(1, 100)), []
    original, replace = getattr(os, call), os.replace

    def fail_once(*args: Any, **more: Any) -> Any:
        if next(calls) == nth:
            raise failure
        return original(*args, **more)

    def spied(*args: Any) -> None:
        (fail_once if call == "replace" else replace)(*args)
        replaced.append(args)

    model.meta, model.weight = {"n_components": 9}, model.weight + 1
    with monkeypatch.context() as patched:
        patched.setattr(os, call, fail_once)
        patched.setattr(os, "replace", spied)
        try:
            save(model, folder)
        except type(failure):
            pass
        else:
            assert next(calls) <= nth or call == "unlink"  # what cannot be deleted is left for the next save
    if len(replaced) < 2 and first:
        assert os.listdir(folder.parent) == []
        return
    assert load(folder).meta == (META if len(replaced) < 2 else model.meta)
    assert sorted(os.listdir(folder)) == sorted([tensors(folder).name, "model.json"])
    assert os.listdir(folder.parent) == ["model"]


def test_a_deleted_model_stays_deleted(folder: Path, model: FakeModel) -> None:
    """Genmix 0.1 left the model before it in a hidden folder, where it was killed at a bad moment."""
    for name in (".model.previous", f".model.{'0' * 32}"):
        shutil.copytree(folder, folder.with_name(name))
        tensors(folder.with_name(name)).rename(folder.with_name(name) / "model.safetensors")
    shutil.copytree(folder.with_name(".model.previous"), folder.with_name(".model.old"))
    (folder.with_name(".model.previous") / "notes.txt").write_text("keep me")
    shutil.rmtree(folder)
    with pytest.raises(ModelFileError, match="does not exist"):
        load(folder)
    save(model, folder)
    assert sorted(os.listdir(folder.parent)) == [".model.old", ".model.previous", "model"]
    (folder.with_name(".model.previous") / "notes.txt").unlink()
    save(model, folder)
    assert sorted(os.listdir(folder.parent)) == [".model.old", "model"]


def leave(folder: Path) -> None:
    """Make what a killed save leaves, and what it does not."""
    for name in ("model-0123456789abcdef.safetensors", f".model-{'0' * 32}"):
        (folder / name).write_bytes(b"half")


def test_what_a_killed_save_left_is_deleted_by_the_next_save_and_by_load(
    folder: Path, model: FakeModel
) -> None:
    names = sorted(os.listdir(folder))
    for use in (load, lambda folder: save(model, folder)):
        leave(folder)
        use(folder)
        assert sorted(os.listdir(folder)) == names
    leave(folder)
    with files.alone_in(folder) as held:  # somebody is saving: it may be his
        assert held and load(folder).meta == META
    assert len(os.listdir(folder)) == 4
    (folder / "model.json").unlink()
    with pytest.raises(ModelFileError, match=r"model.json is missing: the model folder is incomplete"):
        load(folder)
    save(model, folder)
    assert sorted(os.listdir(folder)) == names


def test_where_locks_do_not_work_only_what_is_old_is_deleted(
    folder: Path, model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    old, model.weight = tensors(folder), model.weight + 1
    leave(folder)
    os.utime(folder / "model-0123456789abcdef.safetensors", (0, 0))
    save(model, folder)
    assert torch.equal(load(folder).weight, model.weight)
    assert set(os.listdir(folder)) == {old.name, tensors(folder).name, "model.json", f".model-{'0' * 32}"}


def test_who_saves_waits_for_another(folder: Path, model: FakeModel) -> None:
    model.meta = {"n_components": 9}
    other = threading.Thread(target=save, args=(model, folder))
    with files.alone_in(folder):
        other.start()
        other.join(0.2)
        assert other.is_alive() and load(folder).meta == META
    other.join()
    assert load(folder).meta == {"n_components": 9}


def test_a_folder_that_is_removed_while_a_save_waits_is_made_again(folder: Path, model: FakeModel) -> None:
    other = threading.Thread(target=save, args=(model, folder))
    with files.alone_in(folder):
        other.start()
        other.join(0.2)
        shutil.rmtree(folder)
    other.join()
    assert load(folder).meta == META and os.listdir(folder.parent) == ["model"]


def test_half_a_model_is_removed_unless_somebody_saves_it(folder: Path) -> None:
    persistence.remove_half(folder)
    assert load(folder).meta == META
    leave(folder)
    (folder / "model.json").rename(folder.parent / "model.json")
    with files.alone_in(folder):
        persistence.remove_half(folder)
    (folder / "notes.txt").write_text("keep me")
    persistence.remove_half(folder)
    assert len(os.listdir(folder)) == 4
    (folder / "notes.txt").unlink()
    persistence.remove_half(folder)
    assert os.listdir(folder.parent) == ["model.json"]


def test_over_a_model_of_genmix_0_1_nothing_of_it_is_left(folder: Path, model: FakeModel) -> None:
    name = tensors(folder).name
    tensors(folder).rename(folder / "model.safetensors")
    document = json.loads((folder / "model.json").read_text())
    del document["tensors"]
    (folder / "model.json").write_text(json.dumps(document))
    edit(folder, schema=1, meta={"components": 7})
    assert load(folder).meta == {"components": 7, "n_components": 7}
    assert sorted(os.listdir(folder)) == ["model.json", "model.safetensors"]
    save(model, folder)
    assert sorted(os.listdir(folder)) == [name, "model.json"] and load(folder).meta == META


def test_a_folder_that_is_no_model_is_never_replaced(tmp_path: Path, folder: Path, model: FakeModel) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match=r"also holds 'thesis.tex'"):
        save(model, other)
    (other / "thesis.tex").rename(other / "model.json")
    with pytest.raises(ValueError, match="not a genmix model folder"):
        save(model, other)
    assert (other / "model.json").read_text() == "years of work"
    (other / "model.json").rename(other / "model.safetensors")
    with pytest.raises(ValueError, match="not a genmix model folder"):
        save(model, other)
    (other / "model.safetensors").rename(other / "model-00001-of-00002.safetensors")
    with pytest.raises(ValueError, match=r"also holds 'model-00001-of-00002.safetensors'"):
        save(model, other)
    (other / "model-00001-of-00002.safetensors").unlink()
    (other / "model-0123456789abcdef.safetensors").symlink_to(folder / "model.json")
    with pytest.raises(ValueError, match=r"also holds 'model-0123456789abcdef.safetensors'"):
        save(model, other)
    (folder / "notes.txt").write_text("keep me")
    with pytest.raises(ValueError, match=r"also holds 'notes.txt'"):
        save(model, folder)
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(folder, target_is_directory=True)
    for name in ("file", "link"):
        with pytest.raises(ValueError, match="is a file or a link"):
            save(model, tmp_path / name)


# ---------------------------------------------------------------- what cannot be saved


def test_only_registered_classes_are_saved(tmp_path: Path, model: FakeModel) -> None:
    class Stranger(FakeModel):
        pass

    impostor = type("FakeModel", (FakeModel,), {"__module__": "elsewhere"})
    for cls in (Stranger, impostor):
        known = ", ".join(sorted(registry.MODELS))
        with pytest.raises(ValueError, match=rf"cannot save a .*expected one of {known}"):
            save(cls(model.weight, {}), tmp_path / "model")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), {1, 2}, b"bytes"])
def test_parameters_json_lacks_are_refused(tmp_path: Path, model: FakeModel, value: Any) -> None:
    model.meta = {"value": value}
    with pytest.raises(ValueError, match="cannot save this FakeModel"):
        save(model, tmp_path / "model")
    assert os.listdir(tmp_path) == []


def test_a_document_too_large_to_load_is_not_written(tmp_path: Path, model: FakeModel) -> None:
    model.meta = {"value": "x" * persistence.MAX_DOCUMENT_BYTES}
    with pytest.raises(ValueError, match="bytes of JSON"):
        save(model, tmp_path / "model")


# ---------------------------------------------------------------- what is refused on loading


FILES = pytest.mark.parametrize("path_of", [tensors, lambda folder: folder / "model.json"])


@FILES
def test_missing_files(folder: Path, path_of: Callable[[Path], Path]) -> None:
    path = path_of(folder)
    name = path.name
    path.unlink()
    with pytest.raises(ModelFileError, match=rf"{name} is missing"):
        load(folder)


def test_missing_folder_and_file_instead(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="does not exist"):
        load(tmp_path / "nothing")
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelFileError, match="is not a folder"):
        load(tmp_path / "file")


@FILES
def test_links_pipes_and_folders_are_refused(
    folder: Path, path_of: Callable[[Path], Path], tmp_path: Path
) -> None:
    path = path_of(folder)
    name = path.name
    path.rename(tmp_path / "real")
    path.symlink_to(tmp_path / "real")
    with pytest.raises(ModelFileError, match=rf"{name} is a link"):
        load(folder)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ModelFileError, match="not a regular file"):
        load(folder)
    path.unlink()
    path.mkdir()
    with pytest.raises(ModelFileError, match=name):
        load(folder)


@FILES
def test_truncated_files(folder: Path, path_of: Callable[[Path], Path]) -> None:
    path = path_of(folder)
    content = path.read_bytes()
    for length in (0, 1, 8, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(ModelFileError):
            load(folder)


def test_200_byte_flips_are_all_noticed(folder: Path, model: FakeModel) -> None:
    chance = random.Random(0)  # noqa: S311
    noticed = 0
    for _ in range(200):
        path = chance.choice([folder / "model.json", tensors(folder)])
        good = path.read_bytes()
        bad = bytearray(good)
        bad[chance.randrange(len(bad))] ^= chance.randrange(1, 256)
        path.write_bytes(bytes(bad))
        try:
            again = load(folder)
        except ModelFileError:
            noticed += 1
        else:  # white space became other white space: the same model
            assert json.loads(bad) == json.loads(good)
            assert torch.equal(again.weight, model.weight)
        path.write_bytes(good)
    assert noticed >= 195


@pytest.mark.parametrize("seed", range(4))
def test_forged_tensor_files_with_a_right_checksum(folder: Path, seed: int) -> None:
    """The checksum stops accidents, not forgers: flips behind it still raise nothing but ModelFileError."""
    chance = random.Random(seed)  # noqa: S311
    good = tensors(folder).read_bytes()
    for _ in range(25):
        bad = bytearray(good)
        bad[chance.randrange(150)] ^= chance.randrange(1, 256)
        tensors(folder).write_bytes(bytes(bad))
        edit(folder, sha256=hashlib.sha256(bad).hexdigest())
        try:
            assert load(folder).weight.shape == (3, 4)
        except ModelFileError:
            continue


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "other"}, "not a genmix model"),
        ({"schema": 3}, "upgrade genmix"),
        ({"schema": 0}, "schema 0"),
        ({"schema": True}, "schema True"),
        ({"schema": "1"}, "schema '1'"),
        ({"class": "os.system"}, "names the class 'os.system'"),
        ({"class": ["FakeModel"]}, "names the class"),
        ({"meta": []}, 'no "meta"'),
        ({"sha256": None}, "checksum differs"),
        ({"tensors": None}, "names the tensors None: expected model-CHECKSUM"),
        ({"tensors": ["model.safetensors"]}, "names the tensors"),
        ({"tensors": "model-0123456789abcdef.safetensors\n"}, "names the tensors"),
        ({"tensors": "../model/model-0123456789abcdef.safetensors"}, "names the tensors"),
        ({"tensors": "/dev/zero"}, "names the tensors"),
    ],
)
def test_forged_documents(folder: Path, changes: dict[str, Any], message: str) -> None:
    edit(folder, **changes)
    with pytest.raises(ModelFileError, match=message):
        load(folder)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "{",
        "[" * 100_000,
        '{"format": NaN}',
        '{"format": "genmix-model", "schema": 1, "meta": 1e999}',
        '{"format": "genmix-model", "schema": ' + "1" * 5000 + "}",
    ],
)
def test_documents_that_are_no_models(folder: Path, text: str) -> None:
    (folder / "model.json").write_text(text)
    with pytest.raises(ModelFileError, match=r"model\.json"):
        load(folder)


def test_a_document_without_a_tensor_checksum(folder: Path) -> None:
    path = folder / "model.json"
    document = json.loads(path.read_text())
    del document["sha256"]
    path.write_text(json.dumps(document))
    edit(folder)
    with pytest.raises(ModelFileError, match="checksum differs"):
        load(folder)


def test_an_edited_document_is_refused(folder: Path) -> None:
    path = folder / "model.json"
    path.write_text(path.read_text().replace('"n_components": 3', '"n_components": 4'))
    with pytest.raises(ModelFileError, match="damaged or was edited"):
        load(folder)


def test_a_huge_document_is_refused_unread(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (folder / "model.json").open("r+b") as file:
        file.truncate(persistence.MAX_DOCUMENT_BYTES + 1)
    monkeypatch.setattr(json, "loads", lambda *args, **kwargs: pytest.fail("was parsed"))
    with pytest.raises(ModelFileError, match="expected at most"):
        load(folder)


def test_wrong_shapes_and_missing_tensors(tmp_path: Path, folder: Path, model: FakeModel) -> None:
    model.weight = torch.zeros(2, 2)
    with pytest.raises(ModelFileError, match=r"usable FakeModel: weight must have shape \(3, 4\)"):
        load(save(model, tmp_path / "small"))
    model._export = lambda: ({}, {})  # type: ignore[method-assign]
    with pytest.raises(ModelFileError, match="usable FakeModel"):
        load(save(model, tmp_path / "none"))


def test_running_out_of_memory_is_not_the_files_fault(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def restore(*args: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(FakeModel, "_restore", restore)
    with pytest.raises(MemoryError):
        load(folder)


def test_nothing_is_ever_unpickled(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        pytest.fail("unpickled")

    payload = pickle.dumps(threading.Event, protocol=4)
    archive = folder.parent / "weights.pt"
    torch.save({"weight": torch.zeros(3, 4)}, archive)
    for module, name in ((pickle, "load"), (pickle, "loads"), (pickle, "Unpickler"), (torch, "load")):
        monkeypatch.setattr(module, name, refuse)
    assert load(folder).meta == META
    for content in (payload, archive.read_bytes()):
        tensors(folder).write_bytes(content)
        edit(folder, sha256=hashlib.sha256(content).hexdigest())
        with pytest.raises(ModelFileError, match="usable FakeModel"):
            load(folder)


def test_shared_and_strided_tensors_are_saved(tmp_path: Path, model: FakeModel) -> None:
    save(model, tmp_path / "model")
    import safetensors.torch

    found = safetensors.torch.load_file(tensors(tmp_path / "model"))
    assert torch.equal(found["turned"], model.weight.T)


def test_folders_follow_the_users_permissions(folder: Path) -> None:
    plain = folder.parent / "plain"
    plain.mkdir()
    assert folder.stat().st_mode == plain.stat().st_mode
    shutil.rmtree(plain)
