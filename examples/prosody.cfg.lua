-- What Prosody needs for xmpprelay: append this to /etc/prosody/prosody.cfg.lua and restart it.
-- Prosody listens for components on 127.0.0.1:5347 by itself.

-- For the whole server, so leave these out if you have set them above:
gc = { mode = "incremental", threshold = 250, speed = 500 } -- twice the speed with 1,000 connections
network_settings = { nagle = false } -- else a post waits up to 40 ms for TCP, now and then

Component "relay.example.org"
	component_secret = "change me" -- the only line of /etc/xmpprelay/secret
	-- After a network failure Prosody may believe for a while that the old connection is alive, and
	-- refuse the relay's new one. With this line the new one wins. Only the relay knows the secret.
	component_conflict_resolve = "kick_old"
