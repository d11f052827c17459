"""Where an alert comes from: what people declared, what can be read around it, what is answered."""
