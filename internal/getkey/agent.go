package getkey

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/keyrot/keyrot/pkg/api"
)

const maxAnswer = 64 << 10 // bytes

// Socket returns the path of the agent's unix socket: KEYROT_AGENT_SOCKET, or
// agent.sock in [RunDir].
func Socket(getenv func(string) string) string {
	if path := getenv("KEYROT_AGENT_SOCKET"); path != "" {
		return path
	}
	if dir := RunDir(getenv); dir != "" {
		return filepath.Join(dir, "agent.sock")
	}
	return ""
}

// RunDir returns the folder of what a running agent offers: keyrot in
// XDG_RUNTIME_DIR, else in the folder of caches; "" if there is neither.
func RunDir(getenv func(string) string) string {
	if dir := getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "keyrot")
	}
	return CacheDir(getenv)
}

// fromAgent asks the agent. ok is false if none runs here or it cannot help:
// then the other ways are tried.
func (s Source) fromAgent(user string) (c api.Credential, ok bool) {
	if s.Socket == "" {
		return c, false
	}
	info, err := os.Stat(s.Socket)
	if err != nil || info.Mode()&os.ModeSocket == 0 || runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return c, false // a socket that others may offer or use is no agent's
	}
	if c, err = askAgent(s.Socket, user); err != nil {
		return api.Credential{}, false
	}
	return c, Entry{Credential: c}.Valid(s.Clock())
}

// askAgent makes one request in HTTP/1.0, whose answer is what comes until the
// end. It is spoken by hand because it is all that most runs do.
func askAgent(socket, user string) (c api.Credential, err error) {
	request := "GET " + api.PathActiveKey + "?" + api.ParamUser + "=" + escaped(user) + " HTTP/1.0\r\nHost: agent\r\n\r\n"
	raw, err := exchange(socket, []byte(request), agentWait)
	if err != nil {
		return c, err
	}
	head, body, _ := bytes.Cut(raw, []byte("\r\n\r\n"))
	status, _, _ := strings.Cut(string(head), "\r\n")
	if !strings.HasPrefix(status, "HTTP/1.") || !strings.Contains(status, " 200 ") {
		return c, fmt.Errorf("agent answered %q", status)
	}
	if err := json.Unmarshal(body, &c); err != nil {
		return api.Credential{}, err
	}
	if c.UserName != user || c.Expiration.Before(time.Unix(0, 0)) {
		return api.Credential{}, fmt.Errorf("agent answered for %q", c.UserName)
	}
	return c, nil
}

// escaped is a user name as a query's value. Package net/url would make the
// program wait for net/netip's tables.
func escaped(s string) string {
	const hex = "0123456789ABCDEF"
	var out []byte
	for _, c := range []byte(s) {
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '.' || c == '_' {
			out = append(out, c)
		} else {
			out = append(out, '%', hex[c>>4], hex[c&15])
		}
	}
	return string(out)
}
