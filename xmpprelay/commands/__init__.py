"""One grammar, served to chat and to ad-hoc commands (S15).

`arguments` says what the words after a verb can be, `verbs` is the one table of commands with its
help, and `grammar` reads a line: a command, a post, a question back, or a refusal. Reading has no
effect and asks nobody but a `Names`; what a command does is elsewhere.
"""
