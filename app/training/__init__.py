"""Pure torch training: losses, advantages, rollouts, reward model and PPO. No web, no database."""
