package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate/plan"
)

// Tick is how often the daemon looks for users that are due.
const Tick = time.Second

// Validate reports every value that cannot work, joined, each naming its key.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	oneOf := func(key, value string, allowed ...string) {
		if !slices.Contains(allowed, value) {
			bad("%s: %q is not one of %s", key, value, strings.Join(allowed, ", "))
		}
	}
	errs = append(errs, c.validateSchedules()...)
	for i, w := range c.Windows {
		if err := w.validate(); err != nil {
			bad("windows[%d].%w", i, err)
		}
	}
	errs = append(errs, c.Users.validate()...)
	errs = append(errs, c.Server.validate()...)
	errs = append(errs, c.validateOutbound()...)
	oneOf("existing_keys", c.ExistingKeys, "refuse", "retire")
	oneOf("log.level", c.Log.Level, "debug", "info", "warn", "error")
	oneOf("log.format", c.Log.Format, "json", "text")
	oneOf("audit.sync", c.Audit.Sync, "always", "second")
	for key, path := range map[string]string{
		"store.path": c.Store.Path, "store.key_file": c.Store.KeyFile, "audit.path": c.Audit.Path,
		"audit.exports": c.Audit.Exports,
	} {
		if strings.HasPrefix(path, "~") || strings.Contains(path, "$") { // a shell's; it would be made in the working folder
			bad("%s: %q: write the folder out", key, path)
		}
	}
	for key, keep := range map[string]time.Duration{"audit.keep": c.Audit.Keep, "handouts.keep": c.Handouts.Keep} {
		if keep != 0 && keep < 24*time.Hour {
			bad("%s: %s: must be 24h at least, or 0s for ever", key, keep)
		}
	}
	if c.Store.Path == "" {
		bad("store.path: is empty")
	}
	if (c.Store.Table == "") != (c.Store.KMSKey == "") {
		bad("store.table: goes together with store.kms_key")
	}
	if c.Workers < 1 || c.Workers > 256 {
		bad("workers: %d is not between 1 and 256", c.Workers)
	}
	if !(c.IAM.Rate > 0) {
		bad("iam.rate: %v: must be greater than 0", c.IAM.Rate)
	}
	if c.IAM.Burst < 1 {
		bad("iam.burst: %d: must be greater than 0", c.IAM.Burst)
	}
	return errors.Join(errs...)
}

func (c Config) validateSchedules() []error {
	errs := c.validate("")
	for i, o := range c.Overrides {
		key := fmt.Sprintf("overrides[%d].", i)
		if o.Name == "" {
			errs = append(errs, fmt.Errorf("%sname: is missing", key))
		} else if _, err := path.Match(o.Name, ""); err != nil {
			errs = append(errs, fmt.Errorf("%sname: %q is a malformed pattern", key, o.Name))
		}
		errs = append(errs, o.over(c.Schedule).validate(key)...)
	}
	return errs
}

// ScheduleError says what of a schedule contradicts the rest of it.
type ScheduleError string

func (e ScheduleError) Error() string { return string(e) }

// Hint is what to do about it, as package hint reads it.
func (e ScheduleError) Hint() string { return `"keyrot plan" draws the timeline of a schedule` }

func (s Schedule) validate(prefix string) []error {
	var errs []error
	if _, ok := plan.Preset(s.Preset); !ok {
		errs = append(errs, fmt.Errorf("%sschedule: %q is not one of default, two-active", prefix, s.Preset))
		return errs // the arithmetic would only repeat it
	}
	switch plan.OnInUse(s.OnInUse) {
	case plan.Warn, plan.Hold, plan.Press:
	default:
		errs = append(errs, fmt.Errorf("%son_in_use: %q is not one of warn, hold, force", prefix, s.OnInUse))
	}
	if err := s.policy().Validate(Tick); err != nil {
		for line := range strings.SplitSeq(err.Error(), "\n") {
			errs = append(errs, ScheduleError(prefix+line))
		}
	}
	return errs
}

func (u Users) validate() []error {
	var errs []error
	if slices.Contains(u.Names, "") {
		errs = append(errs, errors.New("users.names: holds an empty name"))
	}
	if p := u.PathPrefix; p != "" && (!strings.HasPrefix(p, "/") || len(p) > 512) {
		errs = append(errs, fmt.Errorf("users.path_prefix: %q does not begin with /", p))
	} else if p != "" && !strings.HasSuffix(p, "/") {
		errs = append(errs, fmt.Errorf("users.path_prefix: %q does not end with / and would select %q, too; write %q", p, p+"-other/", p+"/"))
	}
	if key, _, ok := strings.Cut(u.Tag, "="); u.Tag != "" && (!ok || key == "") {
		errs = append(errs, fmt.Errorf("users.tag: %q is not KEY=VALUE", u.Tag))
	}
	for _, x := range u.Exclude {
		if _, err := path.Match(x, ""); err != nil || x == "" {
			errs = append(errs, fmt.Errorf("users.exclude: %q is a malformed pattern", x))
		}
	}
	if u.All && (len(u.Names) > 0 || u.PathPrefix != "" || u.Tag != "") {
		errs = append(errs, errors.New("users.all: contradicts users.names, users.path_prefix and users.tag"))
	}
	return errs
}

// Empty reports whether no user can be meant.
func (u Users) Empty() bool {
	return !u.All && len(u.Names) == 0 && u.PathPrefix == "" && u.Tag == ""
}

func (s Server) validate() []error {
	var errs []error
	host, _, err := net.SplitHostPort(s.Listen)
	if err != nil {
		errs = append(errs, fmt.Errorf("server.listen: %q is not HOST:PORT", s.Listen))
	}
	if (s.TLSCert == "") != (s.TLSKey == "") {
		errs = append(errs, errors.New("server.tls_cert, server.tls_key: give both or none"))
	}
	if s.ClientCA != "" && s.TLSCert == "" {
		errs = append(errs, errors.New("server.client_ca: needs server.tls_cert and server.tls_key"))
	}
	if !(s.CallerRate > 0) || !(s.FailureRate > 0) {
		errs = append(errs, errors.New("server.caller_rate, server.failure_rate: must be above 0"))
	}
	if _, err := s.Proxies(); err != nil {
		errs = append(errs, err)
	}
	if s.MaxConnections < 1 || s.MaxRequests < 1 {
		errs = append(errs, errors.New("server.max_connections, server.max_requests: must be above 0"))
	}
	if !slices.Contains([]string{"viewer", "open", "off"}, s.Metrics) {
		errs = append(errs, fmt.Errorf("server.metrics: %q is not one of viewer, open, off", s.Metrics))
	}
	if addr, err := netip.ParseAddrPort(s.Pprof); s.Pprof != "" && (err != nil || !addr.Addr().IsLoopback()) {
		errs = append(errs, fmt.Errorf("server.pprof: %q is not a port of the loopback address, such as 127.0.0.1:6060", s.Pprof))
	}
	errs = append(errs, s.validateIdentities()...)
	if err == nil && s.TLSCert == "" && !s.AllowPlainHTTP && !loopback(host) {
		errs = append(errs, fmt.Errorf("server.listen: %q is reachable from elsewhere; set server.tls_cert and server.tls_key, or "+
			"server.allow_plain_http behind a proxy that adds TLS", s.Listen))
	}
	return errs
}

// Proxies returns TrustedProxies as prefixes.
func (s Server) Proxies() ([]netip.Prefix, error) {
	var out []netip.Prefix
	var errs []error
	for _, text := range s.TrustedProxies {
		p, err := netip.ParsePrefix(text)
		if a, bad := netip.ParseAddr(text); bad == nil && a.Zone() == "" {
			p, err = netip.PrefixFrom(a, a.BitLen()), nil
		}
		if err != nil || p.Addr().Is4In6() {
			errs = append(errs, fmt.Errorf("server.trusted_proxies: %q is no address or CIDR such as 10.0.0.0/8", text))
			continue
		}
		out = append(out, p.Masked())
	}
	return out, errors.Join(errs...)
}

// Validate reports what is wrong with a client's settings.
func (c Client) Validate() error {
	if strings.Contains(c.Endpoint, "@") { // not to be repeated
		return errors.New("endpoint: holds a user or a password; write a URL such as https://keyrot.example:8443")
	}
	u, err := url.Parse(c.Endpoint)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return fmt.Errorf("endpoint: %q is not a URL such as https://keyrot.example:8443", c.Endpoint)
	}
	return nil
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}

// Policy returns the user's schedule.
func (c Config) Policy(user string) plan.Policy {
	s := c.Schedule
	for _, o := range c.Overrides {
		if ok, err := path.Match(o.Name, user); ok && err == nil {
			s = o.over(c.Schedule)
			break
		}
	}
	p := s.policy()
	p.Phase = plan.PhaseOf(user, p.RotateEvery)
	return p
}

// over lays the override over the schedule of everybody. Naming a preset or an
// interval starts afresh: the common times would not fit it.
func (o Override) over(base Schedule) Schedule {
	s := base
	if o.Preset != "" || o.RotateEvery != 0 {
		s.RotateEvery, s.DeactivateAfter, s.DeleteAfter = o.RotateEvery, 0, 0
	}
	if o.Preset != "" {
		s.Preset = o.Preset
	}
	pick := func(d *time.Duration, v time.Duration) {
		if v != 0 {
			*d = v
		}
	}
	pick(&s.DeactivateAfter, o.DeactivateAfter)
	pick(&s.DeleteAfter, o.DeleteAfter)
	pick(&s.Settle, o.Settle)
	pick(&s.MaxHold, o.MaxHold)
	pick(&s.RetireIdle, o.RetireIdle)
	pick(&s.BurnEvidence, o.BurnEvidence)
	if o.OnInUse != "" {
		s.OnInUse = o.OnInUse
	}
	return s
}

func (s Schedule) policy() plan.Policy {
	p, _ := plan.Preset(s.Preset)
	out := plan.Policy{
		RotateEvery: s.RotateEvery, DeactivateAfter: s.DeactivateAfter, DeleteAfter: s.DeleteAfter,
		Settle: s.Settle, OnInUse: plan.OnInUse(s.OnInUse), MaxHold: s.MaxHold,
		RetireIdle: s.RetireIdle, Evidence: s.BurnEvidence,
	}
	if out.RotateEvery == 0 {
		out.RotateEvery = p.RotateEvery
	}
	scale := func(d time.Duration) time.Duration {
		return time.Duration(float64(out.RotateEvery) * (float64(d) / float64(p.RotateEvery)))
	}
	if out.DeactivateAfter == 0 {
		out.DeactivateAfter = scale(p.DeactivateAfter)
	}
	if out.DeleteAfter == 0 {
		out.DeleteAfter = scale(p.DeleteAfter)
	}
	out = out.WithDefaults()
	if s.Settle == 0 {
		out.Settle = -1 // none; the planner reads zero as its default
	}
	return out
}
