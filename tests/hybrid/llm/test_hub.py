"""What is said when a hub model cannot be had; no network is used."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
from huggingface_hub import constants
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

from hybrid.errors import UserError
from hybrid.llm.hub import hub_directory


@pytest.fixture
def hub(monkeypatch, tmp_path: Path) -> Callable[..., list[dict]]:
    """A hub that answers with file names or an error, and whose cache is empty or not; returns the downloads."""

    def make(answer: list[str] | Exception, cached: bool = False) -> list[dict]:
        downloads: list[dict] = []

        def model_info(self, name: str, revision: str, timeout: float) -> SimpleNamespace:
            assert timeout <= 10
            if isinstance(answer, Exception):
                raise answer
            return SimpleNamespace(siblings=[SimpleNamespace(rfilename=name) for name in answer])

        def snapshot_download(name: str, **options) -> str:
            downloads.append(options)
            if options["local_files_only"] and not cached:
                raise OSError("not in the cache")
            return str(tmp_path)

        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)
        monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
        return downloads

    return make


def answered(kind: type[Exception]) -> Exception:
    """An error that the hub sent, without the HTTP response that its constructor asks for."""
    return kind.__new__(kind)


def test_files_in_safetensors_are_preferred(hub, tmp_path: Path) -> None:
    downloads = hub(["config.json", "model.safetensors", "pytorch_model.bin"])
    assert hub_directory("some/model", "main") == tmp_path
    assert downloads[0]["allow_patterns"][-1] == "*.safetensors"
    assert downloads[0]["revision"] == "main"
    downloads = hub(["config.json", "pytorch_model.bin"])
    hub_directory("some/model", "main")
    assert downloads[0]["allow_patterns"][-1] == "*.bin"


def test_without_network_the_local_cache_is_used(hub, tmp_path: Path) -> None:
    downloads = hub(ConnectionError("no route"), cached=True)
    assert hub_directory("some/model", "main") == tmp_path
    assert downloads[0]["local_files_only"]


def test_without_network_and_cache_the_ways_that_need_none_are_named(hub) -> None:
    hub(ConnectionError("no route"))
    with pytest.raises(UserError, match=r"the hub cannot be reached \(no route\); .*smollm2-135m.*directory.*\.gguf"):
        hub_directory("some/model", "main")


def test_offline_mode_asks_nobody(hub, monkeypatch) -> None:
    hub(AssertionError("the hub was asked"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="not in the hub's local cache and HF_HUB_OFFLINE is set"):
        hub_directory("some/model", "main")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (RepositoryNotFoundError, "the hub has no model 'some/model'"),
        (RevisionNotFoundError, "'some/model' has no revision 'v9'"),
        (GatedRepoError, "'some/model' is gated"),
    ],
)
def test_what_the_hub_answered_is_said(hub, kind: type[Exception], message: str) -> None:
    hub(answered(kind))
    with pytest.raises(UserError, match=rf"^llm\.(name|revision): .*{message}"):
        hub_directory("some/model", "v9")
    with pytest.raises(UserError, match=rf"^its\.setting: .*{message}"):
        hub_directory("some/model", "v9", "its.setting", "another way")


def test_what_may_stand_there_instead_is_said_for_any_setting(hub) -> None:
    for answer, name in ((answered(RepositoryNotFoundError), "some/model"), (OSError("no route"), "some/model")):
        hub(answer)
        with pytest.raises(UserError, match=r"^its\.setting: .*; another way$"):
            hub_directory(name, "main", "its.setting", "another way")
