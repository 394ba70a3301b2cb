package getkey

import (
	"strings"

	"github.com/keyrot/keyrot/pkg/api"
)

const (
	maxAnswer    = 64 << 10 // bytes
	sizeOfAnswer = 1 << 10  // bytes of most files, answers and outputs
)

// Socket returns the path of the agent's unix socket: KEYROT_AGENT_SOCKET, or
// agent.sock in [RunDir].
func Socket(getenv func(string) string) string {
	if path := getenv("KEYROT_AGENT_SOCKET"); path != "" {
		return path
	}
	if dir := RunDir(getenv); dir != "" {
		return Join(dir, "agent.sock")
	}
	return ""
}

// RunDir returns the folder of what a running agent offers: keyrot in
// XDG_RUNTIME_DIR, else in the folder of caches; "" if there is neither.
func RunDir(getenv func(string) string) string {
	if dir := getenv("XDG_RUNTIME_DIR"); IsAbs(dir) {
		return Join(dir, "keyrot")
	}
	return CacheDir(getenv)
}

// fromAgent asks the agent. ok is false if none runs here or it cannot help:
// then the other ways are tried.
func (s *Source) fromAgent(user string) (c api.Credential, ok bool) {
	if s.Socket == "" || !private(s.Socket) || strings.ContainsAny(user, "\r\n") {
		return c, false
	}
	raw, err := exchange(s.Socket, Ask(user), agentWait)
	if err != nil {
		return c, false
	}
	var e Entry
	if e.decode(raw) != nil || e.Credential.UserName != user || !e.Valid(s.Clock()) {
		return c, false
	}
	return e.Credential, true
}

// Asking is the protocol of the agent's socket: a line that begins with it and
// goes on with a user's name is answered with an [Entry] as Encode writes it,
// or with a line that says why not, and the end. HTTP, and JSON, would take
// longer than all the rest of a run.
const Asking = "keyrot get-key 1 "

// Ask returns what to send to the agent for the user's credential.
func Ask(user string) []byte { return []byte(Asking + user + "\n") }
