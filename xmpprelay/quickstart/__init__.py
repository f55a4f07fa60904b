"""The relay tried out in a minute: a private server, a demo of a primary service, demo people, and
a tour in the terminal.

This room has clients and servers of its own. It never touches the system's Prosody, its accounts
or its ports, and nothing of it runs when the relay serves a real server.
"""
