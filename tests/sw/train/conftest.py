import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread():
    """Two threads that wait for each other cost more than they bring to networks this small."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
