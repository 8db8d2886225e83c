"""Keys, sealed files, signatures and trust: who can read a model, and has it been changed?"""
