import json

import pytest
import torch
import yaml

from lorary.experts import Expert, ExpertCard, Factors
from lorary.library import Library


@pytest.fixture
def kinds(tmp_path):
    """The folder of a library of five experts of two kinds; one names no task, two share one."""
    library = Library.open(str(tmp_path / "kinds"), create=True)
    tasks = {"a1": ("odes",), "a2": ("rhymes", "odes"), "b1": ("queries",), "b2": (), "a3": ("songs",)}
    for number, (name, own) in enumerate(tasks.items()):
        drawn = torch.Generator().manual_seed(ord(name[0]))
        noise = torch.Generator().manual_seed(number)
        shapes = ((2, 6), (4, 2))
        a, b = (torch.randn(s, generator=drawn) + 0.2 * torch.randn(s, generator=noise) for s in shapes)
        library.add(Expert(name, "tiny-base", {"layers.0.proj": Factors(a, b)}, ExpertCard(tasks=own)))
    return str(tmp_path / "kinds")


def test_clusters_are_printed_written_and_drawn(lorary, kinds, tmp_path):
    out = tmp_path / "found" / "clusters.yaml"
    code, output, _ = lorary("cluster", kinds, "--out", str(out))
    assert code == 0
    lines = output.splitlines()
    assert lines[0].split() == ["cluster", "experts", "inside", "outside", "tasks"]
    assert lines[1].split()[:2] == ["cluster_1", "3"]
    assert lines[1].endswith("odes, rhymes, songs")
    assert lines[2].endswith("queries, b2")
    assert "mean silhouette by number of clusters (1 is best): 2: 0." in output
    assert f"tasks: {out}  picture: {out.with_suffix('.png')}" in output
    assert lines[-1] == f"next: lorary train CLUSTER_LIBRARY --tasks TASKS --config {out} --base tiny-base"
    assert yaml.safe_load(out.read_text()) == {
        "groups": {"cluster_1": ["odes", "rhymes", "songs"], "cluster_2": ["queries", "b2"]}
    }
    assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_json_says_how_far_clusters_stand_apart(lorary, kinds, tmp_path):
    words = ("--out", str(tmp_path / "c.yaml"), "--num-clusters", "2", "--json")
    code, output, _ = lorary("cluster", kinds, *words)
    found = json.loads(output)
    assert code == 0
    assert [cluster["experts"] for cluster in found["clusters"]] == [["a1", "a2", "a3"], ["b1", "b2"]]
    for cluster in found["clusters"]:
        assert cluster["mean_cosines"]["inside"] > 0.5 > 0 > cluster["mean_cosines"]["outside"]
    assert list(found["silhouettes"]) == ["2"]


def test_a_sketch_finds_the_same_clusters(lorary, kinds, tmp_path):
    words = ("--out", str(tmp_path / "c.yaml"), "--num-clusters", "2", "--json", "--sketch", "24")
    code, output, _ = lorary("cluster", kinds, *words)
    assert code == 0
    found = json.loads(output)["clusters"]
    assert [cluster["experts"] for cluster in found] == [["a1", "a2", "a3"], ["b1", "b2"]]


def test_the_papers_way_and_single_clusters(lorary, kinds, tmp_path):
    words = ("--out", str(tmp_path / "c.yaml"), "--method", "mbc", "--json")
    found = json.loads(lorary("cluster", kinds, *words)[1])
    assert [cluster["experts"] for cluster in found["clusters"]] == [["a1", "a2", "a3"], ["b1", "b2"]]
    found = json.loads(lorary("cluster", kinds, *words, "--num-clusters", "5")[1])
    assert [cluster["mean_cosines"]["inside"] for cluster in found["clusters"]] == [None] * 5
    found = json.loads(lorary("cluster", kinds, *words, "--num-clusters", "1")[1])
    assert found["clusters"][0]["mean_cosines"]["outside"] is None


def test_the_yaml_trains_one_expert_per_cluster(lorary, trained_library, tiny_base, tmp_path):
    clusters = str(tmp_path / "clusters.yaml")
    assert lorary("cluster", trained_library, "--num-clusters", "2", "--out", clusters)[0] == 0
    groups = yaml.safe_load((tmp_path / "clusters.yaml").read_text())["groups"]
    tasks = ("--tasks", "generated:plurals", "generated:prices", "generated:past_tense")
    words = ("--config", clusters, "--base", tiny_base, "--training.max_steps", "1")
    code, _, said = lorary("train", str(tmp_path / "new"), *tasks, *words)
    assert code == 0, said
    trained = Library.open(str(tmp_path / "new"))
    assert {name: list(expert.card.tasks) for name, expert in trained.items()} == groups


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--num-clusters", "9"), "num_clusters must be between 1 and the number of experts, 5, found 9"),
        (("--max-clusters", "1"), "max_clusters must be at least 2, found 1"),
        (("--base", "zzz"), "has no expert for base model 'zzz'"),
        (("--method", "kmeans"), "kmeans"),
        (("--sketch", "0"), "sketch must be at least 1, or None for exact products, found 0"),
        (("--sketch", "9", "--method", "mbc"), "sketch is for method='cosine' only: leave it out"),
    ],
)
def test_bad_input_is_refused_and_leaves_nothing(lorary, kinds, tmp_path, words, complaint):
    code, output, said = lorary("cluster", kinds, "--out", str(tmp_path / "c.yaml"), *words)
    assert (code, output) == (2, "")
    assert complaint in said
    assert not list(tmp_path.glob("c.*"))
