package quick

// Request is a command line that says only what get-key knows.
type Request struct {
	User, Format, Region             string
	Endpoint, APIKeyFile, CAFile     string
	Identity, OIDCTokenFile          string
	AllowPlainHTTP, NoCache, NoAgent bool
	Getenv                           func(string) string
}

// parse reads the command line of keyrot-get, or of keyrot get-key where no
// configuration file has a say. ok is false for any other, and for whatever is
// not plainly right: the command knows what to say about it.
func parse(args []string, getenv func(string) string) (r Request, ok bool) {
	if len(args) == 0 {
		return r, false
	}
	name := Base(args[0])
	if exe := len(name) - len(".exe"); exe > 0 && name[exe:] == ".exe" {
		name = name[:exe]
	}
	switch {
	case name == "keyrot-get":
		args = args[1:]
	case len(args) > 1 && args[1] == "get-key" && !configured(getenv):
		args = args[2:]
	default:
		return r, false
	}
	r = Request{Format: "json", Endpoint: Endpoint, Getenv: getenv}
	for _, v := range []struct {
		name string
		to   *string
	}{
		{"KEYROT_ENDPOINT", &r.Endpoint},
		{"KEYROT_API_KEY_FILE", &r.APIKeyFile},
		{"KEYROT_CA_FILE", &r.CAFile},
		{"KEYROT_IDENTITY", &r.Identity},
		{"KEYROT_OIDC_TOKEN_FILE", &r.OIDCTokenFile},
		{"AWS_DEFAULT_REGION", &r.Region},
		{"AWS_REGION", &r.Region}, // which counts more
	} {
		if value := getenv(v.name); value != "" {
			*v.to = value
		}
	}
	for len(args) > 0 {
		if args, ok = r.flag(args); !ok {
			return r, false
		}
	}
	return r, word(r.User) && word(r.Format) && (r.Region == "" || word(r.Region)) && !stream(r.APIKeyFile) && !stream(r.OIDCTokenFile)
}

// stream reports whether the path may be of something that can be read once
// only, as shells name a pipe. The command reads it.
func stream(path string) bool {
	return len(path) > 5 && (path[:5] == "/dev/" || path[:5] == "/proc")
}

// flag takes a flag off the arguments.
func (r *Request) flag(args []string) (rest []string, ok bool) {
	name, rest := args[0], args[1:]
	if yes := r.yes(name); yes != nil {
		*yes = true
		return rest, true
	}
	at := 0
	for at < len(name) && name[at] != '=' {
		at++
	}
	var value string
	switch {
	case at < len(name):
		name, value = name[:at], name[at+1:]
	case len(rest) == 0:
		return nil, false
	default:
		value, rest = rest[0], rest[1:]
	}
	to := r.text(name)
	if to == nil {
		return nil, false
	}
	*to = value
	return rest, true
}

// yes returns what a flag without a value switches on, nil for any other.
func (r *Request) yes(flag string) *bool {
	switch flag {
	case "--no-cache":
		return &r.NoCache
	case "--no-agent":
		return &r.NoAgent
	case "--allow-plain-http":
		return &r.AllowPlainHTTP
	}
	return nil
}

// text returns what a flag with a value sets, nil for any other.
func (r *Request) text(flag string) *string {
	switch flag {
	case "--user":
		return &r.User
	case "--format":
		return &r.Format
	case "--region":
		return &r.Region
	case "--endpoint":
		return &r.Endpoint
	case "--api-key-file":
		return &r.APIKeyFile
	case "--ca-file":
		return &r.CAFile
	case "--identity":
		return &r.Identity
	case "--oidc-token-file":
		return &r.OIDCTokenFile
	}
	return nil
}

// word reports whether s can be one of the words that the agent is asked with.
func word(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return s != "" && len(s) <= 256
}

// configured reports whether a configuration file may have a say.
func configured(getenv func(string) string) bool {
	if getenv("KEYROT_CONFIG") != "" {
		return true
	}
	home := getenv("XDG_CONFIG_HOME")
	if !IsAbs(home) {
		home = Join(getenv("HOME"), ".config")
	}
	for _, dir := range []string{Join(home, "keyrot"), "/etc/keyrot"} {
		if !absent(Join(dir, "keyrot.yaml")) {
			return true
		}
	}
	return false
}
