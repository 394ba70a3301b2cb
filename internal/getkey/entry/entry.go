// Package entry is what get-key caches for one user, how it is written down,
// and how that is sealed. It imports little, so that it, and its importers, are
// initialised before most of the program (docs/adr/0007-get-key-speed.md).
package entry

import (
	"encoding/binary"
	"errors"
	"time"
)

// Credential is an access key, with the fields of api.Credential, to which it
// can be converted.
type Credential struct {
	AccessKeyID     string
	SecretAccessKey string
	Expiration      time.Time
	CreateDate      time.Time
	UserName        string
}

// String hides the secret.
func (c Credential) String() string { return "credential of " + c.UserName }

// GoString does, too.
func (c Credential) GoString() string { return c.String() }

// Entry is what is cached for one user: a credential and a token.
type Entry struct {
	Credential Credential
	Tag        string    // the answer's, to ask whether it has changed
	Token      string    // may be ""
	TokenUntil time.Time //
	Fetched    time.Time // by this machine's clock
	Served     time.Time // the same instant by the server's clock; zero: not known
	Next       time.Time // when to ask the server again, by the server's clock
}

const (
	spare     = time.Second      // what a caller needs to use a credential
	clockSlip = 10 * time.Second // a clock set back by more makes the cache void
)

// Usable reports whether the credential works at now and for a second more.
func (c *Credential) Usable(now time.Time) bool {
	return c.AccessKeyID != "" && c.Expiration.After(now.Add(spare))
}

// Ahead returns how far the server's clock was ahead of this machine's.
func (e *Entry) Ahead() time.Duration {
	if e.Served.IsZero() {
		return 0
	}
	return e.Served.Sub(e.Fetched)
}

// Time returns the server's time when this machine's clock shows now: if that is
// behind, by as much as it was. If it is ahead, or was, it is taken as it is:
// then the server is asked too early, and nothing is used for too long if the
// clock was set back meanwhile.
func (e *Entry) Time(now time.Time) time.Time { return now.Add(max(e.Ahead(), 0)) }

// Valid reports whether the credential is usable at now by this machine's clock,
// as far as that can be believed.
func (e *Entry) Valid(now time.Time) bool {
	return e.Credential.Usable(e.Time(now)) && !now.Add(clockSlip).Before(e.Fetched)
}

// Fresh reports whether the server need not be asked.
func (e *Entry) Fresh(now time.Time) bool { return e.Valid(now) && e.Time(now).Before(e.Next) }

var errEntry = errors.New("not a cached entry")

const (
	form    = 4  // the first byte of an encoded entry; other forms came before it
	head    = 5  // bytes: the form, and how many follow
	instant = 12 // bytes: seconds, nanoseconds
)

// fields are an entry's, in the order in which they are encoded.
func (e *Entry) fields() (texts [5]*string, times [6]*time.Time) {
	c := &e.Credential
	return [5]*string{&c.AccessKeyID, &c.SecretAccessKey, &c.UserName, &e.Tag, &e.Token},
		[6]*time.Time{&c.Expiration, &c.CreateDate, &e.TokenUntil, &e.Fetched, &e.Served, &e.Next}
}

// Encode is a byte for the form, the number of bytes that follow, then strings
// with their lengths, then instants: encoding/json would take longer to get
// going than all the rest.
func (e *Entry) Encode() []byte {
	texts, times := e.fields()
	size := instant * len(times)
	for _, s := range texts {
		size += 4 + len(*s)
	}
	out := binary.BigEndian.AppendUint32(append(make([]byte, 0, head+size), form), uint32(size))
	for _, s := range texts {
		out = append(binary.BigEndian.AppendUint32(out, uint32(len(*s))), *s...)
	}
	for _, t := range times {
		out = binary.BigEndian.AppendUint64(out, uint64(t.Unix()))
		out = binary.BigEndian.AppendUint32(out, uint32(t.Nanosecond()))
	}
	return out
}

// Decode reads what Encode wrote, and nothing else. After an error the entry is
// of no use.
func (e *Entry) Decode(raw []byte) error {
	if len(raw) < head || raw[0] != form || uint64(len(raw)-head) != uint64(binary.BigEndian.Uint32(raw[1:])) {
		return errEntry
	}
	raw = raw[head:]
	all := string(raw) // of which the texts are parts
	texts, times := e.fields()
	for _, s := range texts {
		if len(raw) < 4 {
			return errEntry
		}
		n := uint64(binary.BigEndian.Uint32(raw))
		if raw = raw[4:]; uint64(len(raw)) < n {
			return errEntry
		}
		at := len(all) - len(raw)
		*s, raw = all[at:at+int(n)], raw[n:]
	}
	if len(raw) != instant*len(times) {
		return errEntry
	}
	for _, t := range times {
		*t = time.Unix(int64(binary.BigEndian.Uint64(raw)), int64(binary.BigEndian.Uint32(raw[8:]))).UTC()
		raw = raw[instant:]
	}
	return nil
}
