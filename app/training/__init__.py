"""Pure torch training: losses, advantages, rollouts, reward model, PPO and DPO.

No web, no database.
"""
