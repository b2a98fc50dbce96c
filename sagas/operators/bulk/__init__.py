"""Operations on many sagas at once."""
