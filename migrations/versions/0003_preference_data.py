"""Tags of prompts, origins of imported rankings, tombstones, and what a snapshot says of itself"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql")
NO_TAGS = "[]"
NOTHING = "{}"


def upgrade() -> None:
    with op.batch_alter_table("prompt") as batch:
        batch.add_column(sa.Column("tags", JSON, nullable=False, server_default=NO_TAGS))
    with op.batch_alter_table("ranking") as batch:
        batch.add_column(sa.Column("origin", JSON))
        batch.add_column(sa.Column("erased_at", sa.DateTime(timezone=True)))
    with op.batch_alter_table("snapshot") as batch:
        batch.add_column(sa.Column("labelers", sa.Integer(), nullable=False, server_default="0"))
        batch.add_column(
            sa.Column("guidelines_versions", JSON, nullable=False, server_default=NOTHING)
        )
        batch.add_column(sa.Column("splits", JSON))
        batch.add_column(
            sa.Column("licence", sa.String(length=100), nullable=False, server_default="")
        )
        batch.add_column(
            sa.Column("erased_rankings", sa.Integer(), nullable=False, server_default="0")
        )
    _describe_snapshots()


def _describe_snapshots() -> None:
    """What earlier snapshots can still say: their rankings were never changed."""
    connection = op.get_bind()
    op.execute(
        "UPDATE snapshot SET labelers = (SELECT count(DISTINCT ranking.labeler) "
        "FROM snapshot_ranking JOIN ranking ON ranking.id = snapshot_ranking.ranking_id "
        "WHERE snapshot_ranking.snapshot_id = snapshot.id)"
    )
    counted = connection.execute(
        sa.text(
            "SELECT snapshot_ranking.snapshot_id, ranking.guidelines_version, count(*) "
            "FROM snapshot_ranking JOIN ranking ON ranking.id = snapshot_ranking.ranking_id "
            "GROUP BY snapshot_ranking.snapshot_id, ranking.guidelines_version"
        )
    )
    versions: dict[str, dict[str, int]] = {}
    for snapshot_id, version, rankings in counted:
        versions.setdefault(snapshot_id, {})[str(version)] = rankings
    snapshot = sa.table("snapshot", sa.column("id"), sa.column("guidelines_versions", JSON))
    for snapshot_id, of_snapshot in versions.items():
        connection.execute(
            sa.update(snapshot)
            .where(snapshot.c.id == snapshot_id)
            .values(guidelines_versions=of_snapshot)
        )
