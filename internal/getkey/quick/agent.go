package quick

const (
	agentWait    = 2000     // milliseconds, for an agent that does not answer
	maxAnswer    = 64 << 10 // bytes
	sizeOfAnswer = 1 << 10  // bytes of most files, answers and outputs
)

// Asking is the protocol of the agent's socket: a line that begins with it and
// goes on with a user's name, a format and perhaps a region, with spaces between
// them, is answered with [Answer], or with a line that says why not. HTTP, and
// whatever else must be parsed, would take longer than all the rest of a run.
const Asking = "keyrot get-key 2 "

// An answer is answering, the length of the text in digits, a newline, the text.
const (
	answering = "keyrot credential 2 "
	digits    = 6
	headLen   = len(answering) + digits + 1
)

// Question returns what to send to the agent.
func Question(user, format, region string) []byte {
	return []byte(Asking + user + " " + format + " " + region + "\n")
}

// Answer returns what the agent says if text is what get-key has to print. It
// is "" if there is too much of it.
func Answer(text string) string {
	if headLen+len(text) > maxAnswer {
		return ""
	}
	var length [digits]byte
	for i, n := digits-1, len(text); i >= 0; i, n = i-1, n/10 {
		length[i] = byte('0' + n%10)
	}
	return answering + string(length[:]) + "\n" + text
}

// answered returns the text of a complete answer.
func answered(raw []byte) (text string, ok bool) {
	if len(raw) < headLen || string(raw[:len(answering)]) != answering || raw[headLen-1] != '\n' {
		return "", false
	}
	n := 0
	for _, c := range raw[len(answering) : headLen-1] {
		if c < '0' || c > '9' {
			return "", false
		}
		n = 10*n + int(c-'0')
	}
	if n == 0 || len(raw)-headLen != n {
		return "", false
	}
	return string(raw[headLen:]), true
}

// complete reports whether no more will come.
func complete(raw []byte) bool {
	_, ok := answered(raw)
	return ok
}

// Ask returns what the agent at the socket has to say. ok is false if none runs
// there or it cannot help: then the other ways are tried.
func Ask(socket, user, format, region string) (text string, ok bool) {
	if socket == "" || !word(user) || !word(format) || region != "" && !word(region) || !private(socket, me()) {
		return "", false
	}
	raw, err := exchange(socket, Question(user, format, region), agentWait)
	if err != nil {
		return "", false
	}
	return answered(raw)
}

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
