"""The demonstration run's settings."""

from __future__ import annotations

from genopred.pipelines import demo, stack


def test_it_is_the_stack_on_the_example_without_weights_learned_on_these_people(monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(stack, "run", lambda config, progress: seen.append((config, progress)))
    demo.run(demo.DemoConfig(out=tmp_path, learners=("ridge",), genes=("g",), threads=3, seed=5, resume=False), print)
    (config, progress) = seen[0]
    assert config.stack_weights == "none" and progress is print
    assert (config.out, config.learners, config.threads, config.seed, config.resume) == (
        tmp_path,
        ("ridge",),
        3,
        5,
        False,
    )
    assert config.cohort == demo.example_inputs(("g",))


def test_the_example_files_are_there():
    inputs = demo.example_inputs()
    assert inputs.genes is None and inputs.expression.is_file() and inputs.covar.is_file()
    assert all(inputs.bfile.with_name(inputs.bfile.name + end).is_file() for end in (".bed", ".bim", ".fam"))
