"""Calibration and gold tasks, repeats, priorities, revoking and pausing, versions of guidelines"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql")


def upgrade() -> None:
    op.create_table(
        "guidelines",
        sa.Column("project_id", sa.String(length=32), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.String(length=32), nullable=True),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["project.id"],
            name=op.f("fk_guidelines_project_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["created_by"], ["user.id"], name=op.f("fk_guidelines_created_by")),
        sa.PrimaryKeyConstraint("project_id", "version", name=op.f("pk_guidelines")),
    )
    # The texts of earlier versions were not kept; the present one is.
    op.execute(
        "INSERT INTO guidelines (project_id, version, text, created_at, created_by) "
        "SELECT id, guidelines_version, guidelines, created_at, created_by FROM project"
    )
    op.create_table(
        "labeler_pause",
        sa.Column("project_id", sa.String(length=32), nullable=False),
        sa.Column("user_id", sa.String(length=32), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("paused_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("paused_by", sa.String(length=32), nullable=True),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["project.id"],
            name=op.f("fk_labeler_pause_project_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["user.id"], name=op.f("fk_labeler_pause_user_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["paused_by"], ["user.id"], name=op.f("fk_labeler_pause_paused_by")
        ),
        sa.PrimaryKeyConstraint("project_id", "user_id", name=op.f("pk_labeler_pause")),
    )
    op.create_index(op.f("ix_labeler_pause_user_id"), "labeler_pause", ["user_id"])

    with op.batch_alter_table("project") as batch:
        batch.add_column(sa.Column("flags", JSON))
        batch.add_column(
            sa.Column("gold_share", sa.Double(), nullable=False, server_default="0.05")
        )
        batch.add_column(sa.Column("repeat_share", sa.Double(), nullable=False, server_default="0"))
        batch.create_check_constraint(op.f("ck_project_gold_share"), "gold_share BETWEEN 0 AND 0.5")
        batch.create_check_constraint(
            op.f("ck_project_repeat_share"), "repeat_share BETWEEN 0 AND 0.5"
        )
    with op.batch_alter_table("round") as batch:
        batch.add_column(
            sa.Column("calibration_share", sa.Double(), nullable=False, server_default="0")
        )
        batch.add_column(sa.Column("priority", sa.Integer(), nullable=False, server_default="5"))
        batch.create_check_constraint(
            op.f("ck_round_calibration_share"), "calibration_share BETWEEN 0 AND 1"
        )
        batch.create_check_constraint(op.f("ck_round_priority"), "priority BETWEEN 1 AND 9")
    _upgrade_tasks()
    _upgrade_assignments()
    _upgrade_rankings()


def _upgrade_tasks() -> None:
    op.drop_index("ix_task_project_id_state_slots_free_shuffle_key", table_name="task")
    with op.batch_alter_table("task") as batch:
        # SQLite makes the table anew and copies every column, which a computed one does not take.
        batch.drop_column("slots_free")
        batch.add_column(
            sa.Column(
                "slots_free",
                sa.Integer(),
                sa.Computed("rankings_wanted - slots_taken", persisted=True),
                nullable=False,
            )
        )
        batch.add_column(
            sa.Column("purpose", sa.String(length=20), nullable=False, server_default="ordinary")
        )
        batch.add_column(sa.Column("priority", sa.Integer(), nullable=False, server_default="5"))
        batch.add_column(sa.Column("gold_ranks", JSON))
        batch.create_check_constraint(
            op.f("ck_task_purpose"), "purpose IN ('ordinary', 'calibration', 'gold')"
        )
        batch.create_check_constraint(op.f("ck_task_priority"), "priority BETWEEN 1 AND 9")
        batch.create_index(
            op.f("ix_task_project_id_state_priority_slots_free_shuffle_key"),
            ["project_id", "state", "priority", "slots_free", "shuffle_key"],
        )
        batch.create_index(op.f("ix_task_project_id_purpose"), ["project_id", "purpose"])


def _upgrade_assignments() -> None:
    op.add_column("assignment", sa.Column("project_id", sa.String(length=32)))
    op.execute(
        "UPDATE assignment SET project_id = "
        "(SELECT task.project_id FROM task WHERE task.id = assignment.task_id)"
    )
    op.drop_index(op.f("ix_assignment_user_id_state"), table_name="assignment")
    with op.batch_alter_table("assignment") as batch:
        batch.alter_column("project_id", existing_type=sa.String(length=32), nullable=False)
        batch.add_column(
            sa.Column("is_repeat", sa.Boolean(), nullable=False, server_default=sa.false())
        )
        batch.create_foreign_key(
            op.f("fk_assignment_project_id"), "project", ["project_id"], ["id"], ondelete="CASCADE"
        )
        batch.drop_constraint(op.f("uq_assignment_task_id_user_id"), type_="unique")
        batch.create_unique_constraint(
            op.f("uq_assignment_task_id_user_id_is_repeat"), ["task_id", "user_id", "is_repeat"]
        )
        batch.drop_constraint(op.f("ck_assignment_state"), type_="check")
        batch.create_check_constraint(
            op.f("ck_assignment_state"),
            "state IN ('leased', 'submitted', 'skipped', 'expired', 'returned', 'revoked')",
        )
        batch.drop_constraint(op.f("ck_assignment_slot_held"), type_="check")
        batch.create_check_constraint(
            op.f("ck_assignment_slot_held"),
            "(slot IS NOT NULL) = (state IN ('leased', 'submitted') AND NOT is_repeat)",
        )
        batch.create_index(
            op.f("ix_assignment_user_id_project_id_state"), ["user_id", "project_id", "state"]
        )


def _upgrade_rankings() -> None:
    current = sa.text("assignment_id IS NOT NULL AND current")
    with op.batch_alter_table("ranking") as batch:
        batch.add_column(sa.Column("revoked_by", sa.String(length=32)))
        batch.add_column(sa.Column("revoke_reason", sa.Text(), nullable=False, server_default=""))
        batch.create_foreign_key(op.f("fk_ranking_revoked_by"), "user", ["revoked_by"], ["id"])
    op.create_index(
        op.f("uq_ranking_assignment_id_current"),
        "ranking",
        ["assignment_id"],
        unique=True,
        sqlite_where=current,
        postgresql_where=current,
    )
    op.create_index(op.f("ix_ranking_task_id_labeler"), "ranking", ["task_id", "labeler"])


def downgrade() -> None:
    raise NotImplementedError("restore the backup made before the upgrade")
