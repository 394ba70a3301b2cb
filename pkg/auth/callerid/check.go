package callerid

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/keyrot/keyrot/pkg/auth"
)

// Checked tells whether callers could be recognised by one entry.
type Checked struct {
	Name string
	Text string // what was found
	Err  error  // why nobody would be recognised now
}

// Check reads the keys of every issuer and asks every STS endpoint, with a
// request that nobody has signed.
func (v *Verifier) Check(ctx context.Context) []Checked {
	v.init()
	all := make([]Checked, 0, len(v.Identities))
	for _, id := range v.Identities {
		c := Checked{Name: id.Name}
		if id.OIDC != nil {
			c.Text, c.Err = v.checkOIDC(ctx, id.OIDC)
		} else {
			c.Text, c.Err = v.checkAWS(ctx, id.AWS)
		}
		all = append(all, c)
	}
	return all
}

func (v *Verifier) checkOIDC(ctx context.Context, o *OIDC) (string, error) {
	set := v.sets[o.source()]
	if err := set.read(ctx); err != nil {
		return "", fmt.Errorf("reading the keys of %s: %w", o.Issuer, err)
	}
	set.mu.Lock()
	n := len(set.keys)
	set.mu.Unlock()
	if n == 0 {
		return "", fmt.Errorf("%s has no key that signs tokens", o.Issuer)
	}
	return fmt.Sprintf("tokens of %s for %s; it has %d keys", o.Issuer, o.Audience, n), nil
}

func (v *Verifier) checkAWS(ctx context.Context, a *AWS) (string, error) {
	regions := slices.Sorted(maps.Keys(v.STS))
	for _, region := range regions {
		arn, err := v.ask(ctx, v.STS[region], "Action="+stsAction+"&Version="+stsVersion)
		switch {
		case err == nil:
			return "", fmt.Errorf("STS in %s says that nobody is %s", region, arn)
		case !errors.Is(err, auth.ErrBadKey): // which is the right answer
			return "", fmt.Errorf("STS in %s: %w", region, err)
		}
	}
	return fmt.Sprintf("%s, who sign for %s in %s", strings.Join(a.ARNs, ", "), v.ServerID, strings.Join(regions, ", ")), nil
}
