"""Discord, as the bot's ports see it."""
