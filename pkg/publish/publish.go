// Package publish copies proven pairs to where consumers read them: AWS
// Secrets Manager, SSM Parameter Store, files, programs and webhooks. It
// implements rotate.Publisher.
//
// Every target is given the pair as one value, so that no reader ever sees the
// id of one key with the secret of another, and every one can be given the
// same pair again without harm. Targets are safe for concurrent use. Errors
// never hold a secret, nor what a target answered: it might repeat it.
package publish

import (
	"bytes"
	"context"
	"crypto/sha1" //nolint:gosec // RFC 9562 version 5 is defined with it; nothing is secured by it
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/keyrot/keyrot/internal/sessmtp"
	"github.com/keyrot/keyrot/pkg/rotate"
)

// Only restricts a target to some users. It is a rotate.Publisher that has
// nothing to do for the others.
type Only struct {
	Users []string // names or patterns (* and ?); nil: all
	To    rotate.Publisher
}

// Name implements rotate.Publisher.
func (o Only) Name() string { return o.To.Name() }

// Traits implements rotate.Publisher.
func (o Only) Traits() rotate.Traits {
	t := o.To.Traits()
	if o.Users != nil {
		t.Covers = o.includes
	}
	return t
}

// Publish implements rotate.Publisher.
func (o Only) Publish(ctx context.Context, c rotate.Credential) error {
	if o.Users != nil && !o.includes(c.User) {
		return nil
	}
	return o.To.Publish(ctx, c)
}

// Concerned returns those of the users that the target is for.
func (o Only) Concerned(users []string) (out []string) {
	for _, u := range users {
		if o.Users == nil || o.includes(u) {
			out = append(out, u)
		}
	}
	return out
}

func (o Only) includes(user string) bool {
	for _, pattern := range o.Users {
		if ok, err := path.Match(pattern, user); ok && err == nil {
			return true
		}
	}
	return false
}

// ID names the publication of one key: a UUID made of user and key id. A
// receiver that has seen it has had the pair.
func ID(user, keyID string) string { return uuid(user, keyID, "") }

// uuid is a name-based UUID (RFC 9562, version 5). Neither an IAM user's name
// nor a key id holds a slash.
func uuid(user, keyID, more string) string {
	space := [16]byte{0x6b, 0x65, 0x79, 0x72, 0x6f, 0x74, 0x50, 0x75, 0x80, 0x62, 0x6c, 0x69, 0x73, 0x68, 0x00, 0x01}
	h := sha1.Sum(append(space[:], user+"/"+keyID+"/"+more...)) //nolint:gosec // as above
	u := h[:16]
	u[6], u[8] = u[6]&0x0f|0x50, u[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}

// The names that texts may hold as ${NAME}.
const (
	varUser       = "USER"
	varKeyID      = "ACCESS_KEY_ID"
	varSecret     = "SECRET_ACCESS_KEY"
	varCreated    = "CREATED"
	varExpiration = "EXPIRATION"
	varSESName    = "SES_SMTP_USERNAME"
	varSESSecret  = "SES_SMTP_PASSWORD" // #nosec G101 -- a name
	inURL         = "_URL"              // after a name: its value as a part of a URL
)

// variables are what a text may hold, with SMTP credentials if there is a region
// of SES.
func variables(c rotate.Credential, region string) map[string]string {
	all := map[string]string{
		varUser: c.User, varKeyID: c.KeyID, varSecret: c.Secret.Reveal(),
		varCreated: stamp(c.Created), varExpiration: stamp(c.Expiration),
	}
	if region != "" {
		all[varSESName], all[varSESSecret] = c.KeyID, sessmtp.Password(c.Secret.Reveal(), region)
	}
	for _, name := range slices.Collect(maps.Keys(all)) {
		all[name+inURL] = strings.ReplaceAll(url.QueryEscape(all[name]), "+", "%20") // fit for every part
	}
	return all
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// Expand replaces ${NAME} in text by the value of NAME, and $$ by $. Anything
// else after a $, and a name without a value, is an error, which does not
// quote values.
func Expand(text string, values map[string]string) (string, error) {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(text, "$")
		b.WriteString(before)
		if !found {
			return b.String(), nil
		}
		if after, ok := strings.CutPrefix(rest, "$"); ok {
			b.WriteByte('$')
			text = after
			continue
		}
		name, after, ok := strings.Cut(rest, "}")
		if !ok || !strings.HasPrefix(name, "{") {
			return "", errors.New("a $ that begins neither ${NAME} nor $$")
		}
		v, known := values[name[1:]]
		if !known {
			if strings.HasPrefix(name[1:], varSESName) || strings.HasPrefix(name[1:], varSESSecret) {
				return "", fmt.Errorf("${%s} needs the target's region, such as eu-west-1", name[1:])
			}
			return "", fmt.Errorf("${%s} is unknown", name[1:])
		}
		b.WriteString(v)
		text = after
	}
}

// named expands the name of a target, in which only the user may stand.
func named(text string, c rotate.Credential) (string, error) {
	return Expand(text, map[string]string{varUser: c.User})
}

// CheckName reports whether a target's name can be expanded, and whether it
// differs from user to user.
func CheckName(text string) (perUser bool, err error) {
	a, err := Expand(text, map[string]string{varUser: "a"})
	if err != nil {
		return false, err
	}
	b, _ := Expand(text, map[string]string{varUser: "b"})
	return a != b, nil
}

// Properties names the properties of a JSON object that hold the pair.
type Properties struct {
	KeyID      string // default access_key_id
	Secret     string // default secret_access_key
	Expiration string // default none: it is left out
	// SES's SMTP credentials, for which there must be a Region. Default none.
	SESUsername, SESPassword, Region string
}

func (p Properties) pair(c rotate.Credential) map[string]string {
	m := map[string]string{}
	set := func(name, fallback, value string) {
		if name == "" {
			name = fallback
		}
		if name != "" {
			m[name] = value
		}
	}
	set(p.KeyID, "access_key_id", c.KeyID)
	set(p.Secret, "secret_access_key", c.Secret.Reveal())
	set(p.Expiration, "", stamp(c.Expiration))
	set(p.SESUsername, "", c.KeyID)
	if p.SESPassword != "" {
		set(p.SESPassword, "", sessmtp.Password(c.Secret.Reveal(), p.Region))
	}
	return m
}

// merge puts the pair into a JSON object and keeps its other properties. has
// reports that it held the pair already. An empty text counts as {}.
func (p Properties) merge(old string, c rotate.Credential) (text string, has bool, err error) {
	object := map[string]json.RawMessage{}
	if strings.TrimSpace(old) != "" {
		if err := json.Unmarshal([]byte(old), &object); err != nil || object == nil {
			return "", false, errors.New("its value is not a JSON object") // err might quote it
		}
	}
	has = true
	for name, value := range p.pair(c) {
		raw, err := json.Marshal(value)
		if err != nil {
			return "", false, errors.New("encoding the pair")
		}
		var there string
		if json.Unmarshal(object[name], &there) != nil || there != value {
			has = false
		}
		object[name] = raw
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // what others wrote stays as they wrote it
	if err := enc.Encode(object); err != nil {
		return "", false, errors.New("encoding the value")
	}
	return strings.TrimSuffix(b.String(), "\n"), has, nil
}

// message is the pair as programs and webhooks get it.
type message struct {
	ID         string    `json:"id"` // see ID
	User       string    `json:"user"`
	KeyID      string    `json:"access_key_id"`
	Secret     string    `json:"secret_access_key"`
	Created    time.Time `json:"created"`
	Expiration time.Time `json:"expiration"`
	SESName    string    `json:"ses_smtp_username,omitempty"`
	SESSecret  string    `json:"ses_smtp_password,omitempty"`
}

func messageOf(c rotate.Credential, region string) ([]byte, error) {
	m := message{
		ID: ID(c.User, c.KeyID), User: c.User, KeyID: c.KeyID, Secret: c.Secret.Reveal(),
		Created: c.Created.UTC(), Expiration: c.Expiration.UTC(),
	}
	if region != "" {
		m.SESName, m.SESSecret = c.KeyID, sessmtp.Password(c.Secret.Reveal(), region)
	}
	raw, err := json.Marshal(m)
	if err != nil {
		return nil, errors.New("encoding the pair")
	}
	return raw, nil
}
