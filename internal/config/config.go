// Package config turns defaults, a file, the environment and flags into one
// validated plain struct. It is the only importer of viper, and knows of the
// rest of keyrot only the arithmetic of schedules.
//
// Precedence, weakest first: defaults, the file, KEYROT_* variables, flags.
package config

import "time"

// Config is all that can be configured. The mapstructure tags are the keys;
// the environment variable of a key is KEYROT_ and the key in capitals with _
// for the dot. A key that is absent means its default.
type Config struct {
	Schedule `mapstructure:",squash"`

	// Overrides give some users another schedule. The first entry whose name
	// matches wins; what it leaves out is as for everybody. Default none.
	Overrides []Override `mapstructure:"overrides"`

	// Windows are times in which no rotation begins. Default none.
	Windows []Window `mapstructure:"windows"`

	Users  Users  `mapstructure:"users"`
	Store  Store  `mapstructure:"store"`
	Server Server `mapstructure:"server"`
	IAM    IAM    `mapstructure:"iam"`
	Audit  Audit  `mapstructure:"audit"`
	// Handouts is the index of who was given which key.
	Handouts Handouts `mapstructure:"handouts"`
	Log      Log      `mapstructure:"log"`
	Client   Client   `mapstructure:",squash"`

	// Publish are targets that new pairs are copied to. Default none.
	Publish []Target `mapstructure:"publish"`
	Notify  Notify   `mapstructure:"notify"`

	// ExistingKeys is what happens to keys that were there before keyrot:
	// "refuse" the user and say so, or "retire" them: kept until unused for
	// long enough, then treated as superseded. Default "refuse".
	ExistingKeys string `mapstructure:"existing_keys"`
	// ConsumerRefresh is how often the slowest consumer asks for its key; it
	// must fit into the overlap of two keys, which "keyrot doctor" checks.
	// Zero: not declared.
	ConsumerRefresh time.Duration `mapstructure:"consumer_refresh"`
	// Workers is how many keys are made side by side: CreateAccessKey calls in
	// flight. For calls that deactivate and delete there is always a place more,
	// and a pass that waits for anything else takes none. Where IAM answers in 50 ms,
	// 8 are enough for 50 rotations a second. Default 8.
	Workers int `mapstructure:"workers"`
}

// Schedule is when keys move. Durations read "10m", "36h", "90d" or "2w".
type Schedule struct {
	// Preset is "default" (10/12/15 minutes) or "two-active" (10/20/20).
	// Default "default".
	Preset string `mapstructure:"schedule"`
	// RotateEvery is the age at which a key is replaced. Zero: the preset's.
	RotateEvery time.Duration `mapstructure:"rotate_every"`
	// DeactivateAfter is the age at which a replaced key is made inactive.
	// Zero: in the preset's proportion to RotateEvery.
	DeactivateAfter time.Duration `mapstructure:"deactivate_after"`
	// DeleteAfter is the age at which it is deleted. Zero: in the preset's
	// proportion to RotateEvery.
	DeleteAfter time.Duration `mapstructure:"delete_after"`
	// Settle is how long a new key must have been accepted by AWS before it
	// is handed out. Default 10s; 0s: not at all, for servers that are
	// consistent at once.
	Settle time.Duration `mapstructure:"settle"`
	// OnInUse is what happens when a caller still holds a key that is due for
	// deactivation: "warn", "hold" (wait, at most MaxHold) or "force" (do not
	// look). Default "warn".
	OnInUse string `mapstructure:"on_in_use"`
	// MaxHold bounds the wait of "hold". Default 1h.
	MaxHold time.Duration `mapstructure:"max_hold"`
	// RetireIdle is how long a key from before keyrot must have been unused
	// before "retire" takes it away. Default 24h.
	RetireIdle time.Duration `mapstructure:"retire_idle"`
	// BurnEvidence is how long a burned key is kept, inactive, at least; no
	// new key can be made meanwhile. Zero: until its slot is needed.
	BurnEvidence time.Duration `mapstructure:"burn_evidence"`
}

// Override is another schedule for some users.
type Override struct {
	// Name is a user name or a pattern (* and ?). Required.
	Name     string `mapstructure:"name"`
	Schedule `mapstructure:",squash"`
}

// Users says who is rotated: those named, and those that have both the path
// prefix and the tag, as far as these are given. A user in Exclude is never
// rotated. With nothing given nobody is rotated.
type Users struct {
	// Names are user names; each must exist. Default none.
	Names []string `mapstructure:"names"`
	// PathPrefix is an IAM path, such as /machines/, with its final slash. Default none.
	PathPrefix string `mapstructure:"path_prefix"`
	// Tag is KEY=VALUE. Default none.
	Tag string `mapstructure:"tag"`
	// Exclude are user names or patterns, in small letters or capitals. Default none.
	Exclude []string `mapstructure:"exclude"`
	// All rotates every user of the account. Default false.
	All bool `mapstructure:"all"`
}

// Store is where keys are kept.
type Store struct {
	// Path is the SQLite file. Default $XDG_STATE_HOME/keyrot/keyrot.db, or
	// /var/lib/keyrot/keyrot.db for root.
	Path string `mapstructure:"path"`
	// KeyFile holds the key that secrets are sealed with; made on the first
	// start, mode 0600. Default: keyrot.key beside the store.
	KeyFile string `mapstructure:"key_file"`
	// Table is a DynamoDB table that takes the file's place. Default none.
	Table string `mapstructure:"table"`
	// KMSKey is the KMS key (ARN, id or alias) that a table's secrets are
	// sealed with. Required with Table.
	KMSKey string `mapstructure:"kms_key"`
}

// Server is how the API is offered.
type Server struct {
	// Listen is HOST:PORT. Default 127.0.0.1:8080.
	Listen string `mapstructure:"listen"`
	// TLSCert and TLSKey are PEM files, read again when they change. Default
	// none: plain HTTP, on loopback only.
	TLSCert string `mapstructure:"tls_cert"`
	TLSKey  string `mapstructure:"tls_key"`
	// AllowPlainHTTP permits plain HTTP beyond loopback, for a proxy that
	// adds TLS. Default false.
	AllowPlainHTTP bool `mapstructure:"allow_plain_http"`
	// TrustedProxies are the addresses or CIDRs of proxies whose
	// X-Forwarded-For is believed: limits and records are then of the client
	// that it names. Default none.
	TrustedProxies []string `mapstructure:"trusted_proxies"`
	// ClientCA is a PEM file of authorities: clients must show a certificate
	// that descends from one. Read again when it changes. Default none.
	ClientCA string `mapstructure:"client_ca"`
	// HTTP2 offers HTTP/2 to TLS clients, if the release of Go that keyrot was
	// built by is safe to. Default true.
	HTTP2 bool `mapstructure:"http2"`
	// CallerRate is how many requests per second one caller may make in the
	// long run; twice as many may come at once. Default 100.
	CallerRate float64 `mapstructure:"caller_rate"`
	// FailureRate is how many refused credentials per second one address may
	// present; ten times as many may come at once. Good credentials from there
	// are not slowed down. Default 5.
	FailureRate float64 `mapstructure:"failure_rate"`
	// MaxConnections is how many connections may be open; one address gets a
	// quarter of what is free. Default 4096.
	MaxConnections int `mapstructure:"max_connections"`
	// MaxRequests is how many requests may be answered at once; one address gets a
	// quarter of what is free; /healthz, /readyz and /livez are counted apart.
	// What is above gets 503 at once. Default 1024.
	MaxRequests int `mapstructure:"max_requests"`
	// Metrics is who may read /metrics: "viewer" (any API key), "open"
	// (everybody who can reach the server) or "off". Default "viewer".
	Metrics string `mapstructure:"metrics"`
	// Pprof is 127.0.0.1:PORT, where anybody on this machine can take Go
	// profiles of "keyrot serve" (/debug/pprof/), to find out what it spends
	// time and memory on. Default none: nobody can.
	Pprof string `mapstructure:"pprof"`

	// Identities are callers without an API key: what accepts them and what
	// they may read. The first entry that accepts a caller counts. Default none.
	Identities []Identity `mapstructure:"identities"`
	// ID is what callers of kind aws sign to show that they mean this
	// server. Clients sign the host of their endpoint unless told otherwise, so
	// that is the best choice. Required with identities of kind aws.
	ID string `mapstructure:"id"`
	// STSRegions are the regions whose STS callers of kind aws may sign for.
	// Default: the region that the SDK is configured for.
	STSRegions []string `mapstructure:"sts_regions"`
}

// IAM is how AWS is called. Region, profile and endpoint are the AWS SDK's
// own settings.
type IAM struct {
	// Rate is the most calls per second of each action that changes something in
	// IAM (CreateAccessKey, UpdateAccessKey, DeleteAccessKey). AWS throttles them
	// for the whole account, at rates that it does not publish; below this one,
	// keyrot finds and remembers what AWS accepts. Default 10.
	Rate float64 `mapstructure:"rate"`
	// Burst is how many calls of one action may come at once, while AWS has
	// throttled none. Default 5.
	Burst int `mapstructure:"burst"`
}

// Audit is the hash-chained log of all that happens.
type Audit struct {
	// Path is the file. Default: audit.jsonl beside the store.
	Path string `mapstructure:"path"`
	// Sync is "always" (each line is on the disk before what it records takes
	// effect) or "second" (a crash of the machine may lose the last second).
	// Default "always".
	Sync string `mapstructure:"sync"`
	// Keep is how long a line stays in the log, 24h at least. Older ones are
	// exported to Exports and cut off: by serve if the log is a file, about every
	// eighth of that time, and by "keyrot audit prune". 0s: for ever. Default 400d.
	Keep time.Duration `mapstructure:"keep"`
	// Exports is the folder for exported lines. Default: that of the log.
	Exports string `mapstructure:"exports"`
}

// Handouts is the index of who was given which key, which "keyrot whohas"
// reads. The audit log has every single hand-out for longer.
type Handouts struct {
	// Keep is how long it is remembered that a caller was given a key, from the
	// latest time on, 24h at least. What a caller was given last is kept. 0s:
	// for ever. Default 90d.
	Keep time.Duration `mapstructure:"keep"`
}

// Log is the operational log, on standard error.
type Log struct {
	// Level is debug, info, warn or error. Default info.
	Level string `mapstructure:"level"`
	// Format is json or text. Default json.
	Format string `mapstructure:"format"`
}

// Client is how commands such as get-key reach a server.
type Client struct {
	// Endpoint is the server's URL. Default http://127.0.0.1:8080.
	Endpoint string `mapstructure:"endpoint"`
	// APIKeyFile holds the API key. Default none: KEYROT_API_KEY.
	APIKeyFile string `mapstructure:"api_key_file"`
	// Identity is the caller's identity: "api-key", "oidc" (by OIDCTokenFile) or "aws" (by
	// the AWS SDK's credentials). Default: oidc if there is a token file and no
	// API key, otherwise api-key.
	Identity string `mapstructure:"identity"`
	// OIDCTokenFile holds an OIDC token that takes the API key's place, such as
	// the projected token of a Kubernetes service account. Default none.
	OIDCTokenFile string `mapstructure:"oidc_token_file"`
	// SignFor is the server.id, which identity aws signs. Default: the
	// host in Endpoint.
	SignFor string `mapstructure:"sign_for"`
	// CAFile holds the certificates, in PEM, that the server's must descend
	// from. Default none: the system's.
	CAFile string `mapstructure:"ca_file"`
}

func defaults(stateDir string) Config {
	return Config{
		Schedule: Schedule{Preset: "default", Settle: 10 * time.Second, OnInUse: "warn", MaxHold: time.Hour},
		Store:    Store{Path: stateDir + "/keyrot.db"},
		Server: Server{
			Listen: "127.0.0.1:8080", HTTP2: true, Metrics: "viewer",
			CallerRate: 100, FailureRate: 5, MaxConnections: 4096, MaxRequests: 1024,
		},
		IAM:          IAM{Rate: 10, Burst: 5},
		Audit:        Audit{Sync: "always", Keep: 400 * 24 * time.Hour},
		Handouts:     Handouts{Keep: 90 * 24 * time.Hour},
		Log:          Log{Level: "info", Format: "json"},
		Client:       Client{Endpoint: "http://127.0.0.1:8080"},
		Notify:       Notify{Digest: "daily", SMTP: SMTP{TLS: "starttls"}},
		ExistingKeys: "refuse",
		Workers:      8,
	}
}
