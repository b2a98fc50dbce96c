"""The shop over HTTP: parse strictly, call one service, answer. No rule of the shop is decided here."""
