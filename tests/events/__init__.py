"""Events: declaration, outbox, relay, inbox, consumers and transports."""
