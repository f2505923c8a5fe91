"""What the meta-learners write, and what is said of them. Whole runs are in test_pipelines_stack.py."""

from __future__ import annotations

from genopred.learning.stack import MIN_GENES_POOLED, shipped
from genopred.pipelines import stack_meta
from genopred.pipelines.demo import example_inputs
from genopred.settings import Stack


def settings(**more):
    return Stack(**example_inputs(), **more)


def test_the_reference_is_the_elastic_net_where_it_was_trained():
    assert stack_meta.reference(settings(), ["ridge", "elastic-net"]) == "elastic-net"
    assert stack_meta.reference(settings(meta="nnls"), ["ridge"]) == "stack-nnls"


def test_notes_say_where_weights_come_from_and_what_sees_everyone():
    prior = shipped()
    few = stack_meta._notes(settings(), 3, prior.moments.names, prior)
    assert "use --stack-weights none" in few[0] and "3 genes are too few" in few[1] and "the shipped trees" in few[1]
    assert "no trees" in stack_meta._notes(settings(), 3, ("ridge",), prior)[1]
    assert stack_meta._notes(settings(), MIN_GENES_POOLED, ("ridge",), None) == ()
    [note] = stack_meta._notes(settings(residualize="global"), MIN_GENES_POOLED, ("ridge",), None)
    assert note.startswith("--residualize global: transform and covariates were applied to everyone at once")
