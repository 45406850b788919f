"""The dataset card of a snapshot: a README.md with the front matter that hubs read."""

import json
from collections.abc import Iterator, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.labeling.agreement import Agreement, measure_agreement
from app.labeling.estimates import Estimate
from app.labeling.judgements import load_frozen_tasks
from app.models import Guidelines, Project, Snapshot
from app.preferences.formats import COLUMNS, SCHEMA_MEANINGS, PairSchema
from app.preferences.splits import SplitBy, Splits, get_splits

WHOLE = "train"
"""What the only part of a snapshot without parts is called: the name that readers expect."""
HUB_LICENCES = (
    "afl-3.0",
    "agpl-3.0",
    "apache-2.0",
    "bsd-2-clause",
    "bsd-3-clause",
    "bsl-1.0",
    "c-uda",
    "cc-by-2.0",
    "cc-by-2.5",
    "cc-by-3.0",
    "cc-by-4.0",
    "cc-by-nc-2.0",
    "cc-by-nc-3.0",
    "cc-by-nc-4.0",
    "cc-by-nc-nd-3.0",
    "cc-by-nc-nd-4.0",
    "cc-by-nc-sa-2.0",
    "cc-by-nc-sa-3.0",
    "cc-by-nc-sa-4.0",
    "cc-by-nd-4.0",
    "cc-by-sa-3.0",
    "cc-by-sa-4.0",
    "cc0-1.0",
    "cdla-permissive-1.0",
    "cdla-permissive-2.0",
    "cdla-sharing-1.0",
    "gpl-2.0",
    "gpl-3.0",
    "lgpl-3.0",
    "mit",
    "mpl-2.0",
    "odbl",
    "odc-by",
    "openrail",
    "pddl",
    "unknown",
    "unlicense",
)
"""The words a hub knows as a licence; any other is `other` with its name beside it."""
SIZES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
    (100_000_000, "10M<n<100M"),
)
COLUMN_MEANINGS = {
    "prompt": "What the model was asked.",
    "chosen": "The completion that was preferred.",
    "rejected": "The other completion of the pair.",
    "completion": "One completion of the prompt.",
    "label": "Whether it won more of its ranking's pairs than it lost.",
    "prompt_messages": "The prompt as chat messages.",
    "prompt_id": "Pairs of one prompt share it.",
    "task_id": "A prompt with its completions; pairs of one set of completions share it.",
    "ranking_id": "Pairs of one ranking share it.",
    "round": "The round of collecting, counted from 1.",
    "labeler": "Who ranked.",
    "simulated": "Whether a rule ranked and not a person.",
    "is_repeat": "Whether the labeler had ranked the same completions before.",
    "chosen_id": "The preferred completion.",
    "rejected_id": "The other completion.",
    "chosen_rank": "Its rank; 1 is best.",
    "rejected_rank": "The other's rank.",
    "chosen_model": "What wrote it.",
    "rejected_model": "What wrote the other.",
    "weight": "1/C(N, 2) of N completions: with it every ranking counts the same.",
    "guidelines_version": "The guidelines that the labeler had.",
    "created_at": "When it was ranked, in UTC.",
    "id": "The record's id.",
    "fields": "`instruction`, `response1` and `response2`.",
    "metadata": "Who ranked, and where the pair comes from.",
    "responses": "The answer to the question `ranking`: the better response first.",
    "data": "`prompt`, `answer1`, `answer2`, and where the pair comes from.",
    "annotations": "A Pairwise result: `left` where `answer1` was preferred.",
}


def part_file(split: str | None) -> str:
    """Where the Parquet file of a part lies in the folder, None for a snapshot without parts."""
    return f"data/{split or WHOLE}-00000-of-00001.parquet"


def dataset_card(
    session: Session, snapshot: Snapshot, schema: PairSchema = PairSchema.PLAIN
) -> str:
    """README.md of the snapshot as a dataset whose files have the schema's columns.

    It says what is true of the rankings as they were frozen, and how many were erased since.
    """
    project = session.get_one(Project, snapshot.project_id)
    agreement = measure_agreement(load_frozen_tasks(session, snapshot.id))
    splits = get_splits(snapshot) if snapshot.splits else None
    sections = [
        _front_matter(snapshot, project, schema, splits),
        f"# {_title(snapshot, project)}",
        _opening(snapshot, project, schema),
        "## Contents",
        _counts_table(snapshot),
        _about_simulated(snapshot),
        *_about_erased(snapshot),
        "## Agreement",
        _about_agreement(agreement),
        *_about_splits(splits),
        "## Columns",
        _columns_table(schema),
        "## How it was made",
        _about_making(snapshot),
        *_guidelines(session, snapshot),
        "## Use",
        _example(splits),
    ]
    return "\n\n".join(sections) + "\n"


def _title(snapshot: Snapshot, project: Project) -> str:
    return snapshot.name or f"{' '.join(project.name.split())} {snapshot.sha256[:12]}"


def _front_matter(
    snapshot: Snapshot, project: Project, schema: PairSchema, splits: Splits | None
) -> str:
    """YAML, every text of ours quoted as JSON, which YAML takes."""
    lines = ["---", f"pretty_name: {_quoted(_title(snapshot, project))}"]
    licence = snapshot.licence.strip()
    if licence.lower() in HUB_LICENCES or not licence:
        lines.append(f"license: {licence.lower() or 'unknown'}")
    else:
        lines += ["license: other", f"license_name: {_quoted(licence)}"]
    lines += ["task_categories:", "- text-generation", "- reinforcement-learning"]
    lines += ["tags:", "- preference", "- rlhf", "- human-feedback"]
    if schema in (PairSchema.TRL, PairSchema.TRL_CONVERSATIONAL, PairSchema.TRL_UNPAIRED):
        lines.append("- trl")
    size = next((name for limit, name in SIZES if snapshot.pairs < limit), "n>1T")
    lines += ["size_categories:", f"- {size}", "configs:", "- config_name: default"]
    lines.append("  data_files:")
    for name in [part.name for part in splits.parts] if splits else [None]:
        lines += [f"  - split: {_quoted(name or WHOLE)}", f"    path: {_quoted(part_file(name))}"]
    return "\n".join([*lines, "---"])


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _opening(snapshot: Snapshot, project: Project, schema: PairSchema) -> str:
    licence = snapshot.licence.strip() or "not stated"
    return (
        f"Preferred-first pairs of completions, from rankings made in the project "
        f"“{' '.join(project.name.split())}” and frozen on {snapshot.created_at:%d %B %Y} with "
        f"Podium. Licence: {licence}.\n\n"
        f"The files are in the schema `{schema}`. {SCHEMA_MEANINGS[schema]}"
    )


def _counts_table(snapshot: Snapshot) -> str:
    rows = [
        ("Pairs", snapshot.pairs),
        ("Pairs of two identical texts, left out", snapshot.identical_pairs),
        ("Rankings", snapshot.rankings),
        ("Prompts", snapshot.prompts),
        ("Labelers", snapshot.labelers),
    ]
    return _table(("", ""), [(name, f"{count:,}") for name, count in rows])


def _about_simulated(snapshot: Snapshot) -> str:
    simulated = snapshot.simulated_rankings
    if not simulated:
        return "All rankings are by people."
    share = simulated / snapshot.rankings
    return (
        f"**{simulated:,} of {snapshot.rankings:,} rankings ({share:.0%}) are by simulated "
        "labelers**: a rule ranked, not a person. The column `simulated` of the schema `plain` "
        "tells them apart."
    )


def _about_erased(snapshot: Snapshot) -> Iterator[str]:
    if snapshot.erased_rankings:
        yield (
            f"{snapshot.erased_rankings:,} of the rankings had to be erased since. The counts and "
            "the SHA-256 on this page are those of the day the snapshot was made; the files lack "
            "what was erased."
        )


def _about_agreement(agreement: Agreement) -> str:
    if not agreement.tasks:
        return "No two labelers ranked the same completions: there is no agreement to measure."
    rows = [
        ("Pairwise agreement", *_figures(agreement.pairwise_agreement), "pairs of completions"),
        ("Kendall's τ-b", *_figures(agreement.kendall_tau_b), "pairs of labelers, over tasks"),
        ("Krippendorff's α (ordinal)", *_figures(agreement.krippendorff_alpha), "completions"),
    ]
    return (
        f"Of {agreement.tasks:,} tasks that at least two labelers ranked. The interval is a 95% "
        "bootstrap over tasks.\n\n" + _table(("Figure", "Value", "Interval", "n", "n counts"), rows)
    )


def _figures(estimate: Estimate) -> tuple[str, str, str]:
    value = "–" if estimate.value is None else f"{estimate.value:.3f}"
    if estimate.low is None or estimate.high is None:
        return value, "–", f"{estimate.n:,}"
    return value, f"{estimate.low:.3f} to {estimate.high:.3f}", f"{estimate.n:,}"


def _about_splits(splits: Splits | None) -> Iterator[str]:
    if splits is None:
        return
    noun = "labeler" if splits.by == SplitBy.LABELER else "prompt"
    rows = [
        (
            part.name,
            f"{part.share:.1%}",
            f"{part.groups:,}",
            f"{part.rankings:,}",
            f"{part.pairs:,}",
        )
        for part in splits.parts
    ]
    yield "## Parts"
    yield (
        f"Parted by {noun} with the seed {splits.seed}: no {noun} is in two parts.\n\n"
        + _table(("Part", "Share", f"{noun.capitalize()}s", "Rankings", "Pairs"), rows)
    )


def _columns_table(schema: PairSchema) -> str:
    rows = [(f"`{name}`", COLUMN_MEANINGS[name]) for name in COLUMNS[schema]]
    return _table(("Column", "Meaning"), rows)


def _about_making(snapshot: Snapshot) -> str:
    filters = json.dumps(snapshot.filters, ensure_ascii=False, sort_keys=True)
    return (
        "In Podium, labelers rank the completions of a prompt without knowing which model wrote "
        "which; imported rankings were made elsewhere. A ranking of N completions without ties "
        "gives N·(N−1)/2 pairs; ties and the unranked give none.\n\n"
        f"- Filters: `{filters}`" + ("" if snapshot.filters else " (everything)") + "\n"
        f"- SHA-256 of the pairs as JSONL in the schema `plain`: `{snapshot.sha256}`\n"
        f"- Snapshot: `{snapshot.id}`"
    )


def _guidelines(session: Session, snapshot: Snapshot) -> Iterator[str]:
    texts = {
        str(version): text
        for version, text in session.execute(
            select(Guidelines.version, Guidelines.text).where(
                Guidelines.project_id == snapshot.project_id
            )
        )
    }
    yield "## Guidelines"
    for version, rankings in sorted(
        snapshot.guidelines_versions.items(), key=lambda item: int(item[0])
    ):
        yield f"### Version {version}"
        yield f"{rankings:,} {'ranking was' if rankings == 1 else 'rankings were'} made under it."
        text = texts.get(version, "").strip()
        if text:
            yield "\n".join(f"> {line}".rstrip() for line in text.splitlines())
        else:
            yield "It has no text."


def _example(splits: Splits | None) -> str:
    first = splits.parts[0].name if splits else WHOLE
    return (
        "```python\n"
        "from datasets import load_dataset\n\n"
        "# The folder that this file is in, or its name on a hub.\n"
        f'pairs = load_dataset("path/to/folder", split={_quoted(first)})\n'
        "```"
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
