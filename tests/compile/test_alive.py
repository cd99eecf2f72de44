"""What is new is told from what was there, by the generations of Python's collector."""

import gc

import pytest

import dynjax as torch
from dynjax.compile.alive import Newcomers, instances_alive, subclasses


class Thing:
    pass


class Special(Thing):
    pass


@pytest.fixture
def off():
    """The collector does not run by itself."""
    gc.disable()
    yield
    gc.enable()


def test_instances_are_found_in_every_generation(off):
    old = Thing()
    gc.collect()
    young = Special()
    assert set(map(id, instances_alive(subclasses(Thing)))) == {id(old), id(young)}
    assert instances_alive({Thing}) == [old]
    assert instances_alive({Thing, Special}, 0) == [young]


def test_a_container_existed_or_is_new(off):
    old = [[1]]
    gc.collect()
    young = [[2]]
    new = Newcomers()
    made = [[3]]
    for _ in range(2):  # the second time it is known
        assert [new.existed(x, False) for x in (old, old[0], young, young[0])] == [True] * 4
        assert [new.existed(x, True) for x in (made, made[0])] == [False] * 2
    new.forget()


def test_a_dict_unknown_to_the_collector_is_taken_for_a_new_one(off):
    counts = {}
    new = Newcomers()
    if not gc.is_tracked(counts):
        assert not new.existed(counts, True)


@pytest.mark.parametrize("unsure", [True, False])
def test_once_something_was_collected_only_the_young_are_known(off, unsure):
    old = [[1]]
    gc.collect()
    young = [[2]]
    new = Newcomers()
    asked, other = [[3]], [[4]]
    assert new.undisturbed()
    assert not new.existed(asked, True)
    gc.collect()
    assert not new.undisturbed()
    assert new.existed(young, False)
    assert not new.existed(asked, True)
    assert [new.existed(x, unsure) for x in (old, other)] == [unsure] * 2
    assert not new.existed([[5]], True)


def test_new_tensors_are_found_after_a_collection_too(off):
    new = Newcomers()
    x = torch.zeros(3)
    assert any(t is x for t in new.made(subclasses(torch.Tensor)))
    gc.collect()
    assert any(t is x for t in new.made(subclasses(torch.Tensor)))


def test_a_function_that_collects_is_recorded():
    def f(x):
        kept = [x + 1]
        gc.collect()
        more = []
        more.append(x * 2)
        return kept[0] + more[0]

    compiled = torch.compile(f, fullgraph=True)
    assert [compiled(torch.ones(2)).tolist() for _ in range(2)] == [[4.0, 4.0]] * 2


def test_a_list_from_outside_is_noticed_however_young_it_is():

    class Holder:
        pass

    holder = Holder()
    holder.seen = []

    def g(x):
        holder.seen.append(len(holder.seen))
        return x.sin() + 1

    compiled = torch.compile(g)
    with pytest.warns(UserWarning, match="append.. of an object from outside"):
        compiled(torch.ones(2))
    compiled(torch.ones(2))
    assert holder.seen == [0, 1]


def test_the_collector_is_as_it_was_after_a_recording():
    def f(x):
        return x.sin() + 1

    for on in (True, False):
        (gc.enable if on else gc.disable)()
        try:
            torch.compile(f)(torch.ones(2))
            assert gc.isenabled() is on
        finally:
            gc.enable()
