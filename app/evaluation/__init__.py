"""What people say of a new policy, blind: win rates and strengths with intervals, and promotion."""
