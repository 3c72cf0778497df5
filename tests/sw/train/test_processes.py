import torch

from sw.train.processes import ALONE, Processes


def test_shares_are_all_of_a_batch_and_nothing_twice():
    rows = torch.randperm(11)
    shares = [Processes(index, 3).share(rows) for index in range(3)]
    assert sorted(torch.cat(shares).tolist()) == list(range(11))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_as_torchrun_says(monkeypatch):
    assert Processes.started() == ALONE
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_RANK", "1")
    started = Processes.started()
    assert started == Processes(3, 4)
    assert not started.first
    assert started.device("cuda") == "cuda:1"
    assert started.device("cpu") == "cpu"


def test_alone_nothing_is_shared():
    network, tensor = torch.nn.Linear(2, 2), torch.ones(3)
    assert ALONE.first
    assert ALONE.device("cuda") == "cuda"
    assert ALONE.joined(network) is network
    assert ALONE.share(tensor) is not None and len(ALONE.share(tensor)) == 3
    assert ALONE.total(tensor) is tensor
    ALONE.meet("cpu")
    ALONE.wait()
    ALONE.part()
