package getkey

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/keyrot/keyrot/pkg/api"
)

// Entry is what is cached for one user: a credential and a token.
type Entry struct {
	Credential api.Credential
	Tag        string    // the answer's, to ask whether it has changed
	Token      string    // may be ""
	TokenUntil time.Time //
	Fetched    time.Time // by this machine's clock
	Next       time.Time // when to ask the server again
}

// Valid reports whether the credential works at now and for a second more.
func (e *Entry) Valid(now time.Time) bool {
	return e.Credential.AccessKeyID != "" && e.Credential.Expiration.After(now.Add(spare)) && !now.Add(clockSlip).Before(e.Fetched)
}

// fresh reports whether the server need not be asked.
func (e *Entry) fresh(now time.Time) bool { return e.Valid(now) && now.Before(e.Next) }

// poll is how soon a server is asked again that answers "not changed" to who
// names what it has: a key that was burned is not printed for longer.
const poll = time.Minute

// NextAsk returns when to ask the server again after it gave c with the tag.
func NextAsk(c api.Credential, tag string, now time.Time) time.Time {
	at := api.RefreshAt(c, now)
	if soon := now.Add(poll); tag != "" && soon.Before(at) {
		return soon
	}
	return at
}

var errEntry = errors.New("not a cached entry")

const (
	entryForm = 2  // the first byte of an encoded entry; other forms came before it
	entryHead = 5  // bytes: the form, and how many follow
	instant   = 12 // bytes: seconds, nanoseconds
)

// fields are an entry's, in the order in which they are encoded.
func (e *Entry) fields() (texts [5]*string, times [5]*time.Time) {
	c := &e.Credential
	return [5]*string{&c.AccessKeyID, &c.SecretAccessKey, &c.UserName, &e.Tag, &e.Token},
		[5]*time.Time{&c.Expiration, &c.CreateDate, &e.TokenUntil, &e.Fetched, &e.Next}
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
	out := binary.BigEndian.AppendUint32(append(make([]byte, 0, entryHead+size), entryForm), uint32(size))
	for _, s := range texts {
		out = append(binary.BigEndian.AppendUint32(out, uint32(len(*s))), *s...)
	}
	for _, t := range times {
		out = binary.BigEndian.AppendUint64(out, uint64(t.Unix()))
		out = binary.BigEndian.AppendUint32(out, uint32(t.Nanosecond()))
	}
	return out
}

// complete reports whether raw is a whole entry, as far as its head says.
func complete(raw []byte) bool {
	return len(raw) >= entryHead && raw[0] == entryForm && uint64(len(raw)-entryHead) == uint64(binary.BigEndian.Uint32(raw[1:]))
}

// decode reads what Encode wrote, and nothing else. After an error the entry is
// of no use.
func (e *Entry) decode(raw []byte) error {
	if !complete(raw) {
		return errEntry
	}
	raw = raw[entryHead:]
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
