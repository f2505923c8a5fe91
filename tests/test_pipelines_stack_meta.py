"""What the meta-learners are held against. Whole runs are in test_pipelines_stack.py."""

from __future__ import annotations

from genopred.pipelines import stack_meta
from genopred.pipelines.demo import example_inputs
from genopred.settings import Stack


def settings(**more):
    return Stack(**example_inputs(), **more)


def test_the_reference_is_the_elastic_net_where_it_was_trained():
    assert stack_meta.reference(settings(), ["ridge", "elastic-net"]) == "elastic-net"
    assert stack_meta.reference(settings(meta="nnls"), ["ridge"]) == "stack-nnls"
