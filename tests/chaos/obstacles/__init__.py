"""App that slows steps and sets clocks wrong in processes whose environment asks for it."""
