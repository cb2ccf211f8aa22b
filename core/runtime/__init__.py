"""What every service process needs and nothing about pictures of people: no torch here."""
