// Package page is the status page: how all users are, each one's keys on a
// timeline, what happened, and who calls; with a login, and live updates over
// server-sent events. [Build] makes the same read model for a terminal.
//
// It knows no secret: the store is listed without secrets, and of API keys it
// shows names. It changes nothing but its own sessions.
package page
