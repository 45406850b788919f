"""Rounds that compare two policies blind, what a reward model says of completions, promotions"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql")


def upgrade() -> None:
    with op.batch_alter_table("round") as batch:
        batch.add_column(sa.Column("candidate_id", sa.String(length=100)))
        batch.add_column(sa.Column("baseline_id", sa.String(length=100)))
        batch.create_foreign_key(op.f("fk_round_candidate_id"), "model", ["candidate_id"], ["id"])
        batch.create_foreign_key(op.f("fk_round_baseline_id"), "model", ["baseline_id"], ["id"])
        batch.create_check_constraint(
            op.f("ck_round_candidate"),
            "(candidate_id IS NULL) = (baseline_id IS NULL) AND "
            "(candidate_id IS NULL OR candidate_id <> baseline_id)",
        )
        batch.create_index(op.f("ix_round_candidate_id"), ["candidate_id"])
    with op.batch_alter_table("task") as batch:
        batch.add_column(sa.Column("uncertainty", sa.Double()))
    with op.batch_alter_table("project") as batch:
        batch.add_column(
            sa.Column("uncertain_first", sa.Boolean(), nullable=False, server_default=sa.false())
        )
    with op.batch_alter_table("model") as batch:
        batch.add_column(sa.Column("positive_class", sa.Integer()))
        batch.create_check_constraint(op.f("ck_model_positive_class"), "positive_class IN (0, 1)")
    op.create_table(
        "completion_reward",
        sa.Column("completion_id", sa.String(length=32), nullable=False),
        sa.Column("model_id", sa.String(length=100), nullable=False),
        sa.Column("reward", sa.Double(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["completion_id"],
            ["completion.id"],
            name=op.f("fk_completion_reward_completion_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["model_id"], ["model.id"], name=op.f("fk_completion_reward_model_id")
        ),
        sa.PrimaryKeyConstraint("completion_id", "model_id", name=op.f("pk_completion_reward")),
    )
    op.create_table(
        "promotion",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("project_id", sa.String(length=32), nullable=False),
        sa.Column("model_id", sa.String(length=100), nullable=False),
        sa.Column("previous_model_id", sa.String(length=100), nullable=True),
        sa.Column("round_id", sa.String(length=32), nullable=True),
        sa.Column("evidence", JSON, nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.String(length=32), nullable=True),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["project.id"],
            name=op.f("fk_promotion_project_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["model_id"], ["model.id"], name=op.f("fk_promotion_model_id")),
        sa.ForeignKeyConstraint(
            ["previous_model_id"], ["model.id"], name=op.f("fk_promotion_previous_model_id")
        ),
        sa.ForeignKeyConstraint(
            ["round_id"], ["round.id"], name=op.f("fk_promotion_round_id"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(["created_by"], ["user.id"], name=op.f("fk_promotion_created_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_promotion")),
    )
    op.create_index(op.f("ix_promotion_project_id_id"), "promotion", ["project_id", "id"])
    op.create_index(op.f("ix_promotion_model_id"), "promotion", ["model_id"])
