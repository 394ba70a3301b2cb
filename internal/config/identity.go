package config

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
)

// Identity is one way to be accepted without an API key.
type Identity struct {
	// Name tells it from the others, in the callers' ids and in logs: small
	// letters, digits, - and _. Required.
	Name string `mapstructure:"name"`
	// Kind is aws (callers sign with their AWS credentials) or oidc (callers
	// show a token of their platform). Required.
	Kind string `mapstructure:"kind"`
	// Users are the IAM users whose keys may be read: names or patterns.
	// Required unless Role is viewer.
	Users []string `mapstructure:"users"`
	// Role is reader or viewer. Default reader.
	Role string `mapstructure:"role"`

	// ARNs are for aws: arn:aws:iam::ACCOUNT:role/NAME, of the role itself
	// without its path, or arn:aws:iam::ACCOUNT:user/PATH/NAME. Names may be
	// patterns, in which * does not cross a /.
	ARNs []string `mapstructure:"arns"`

	// Issuer is for oidc: the token's iss, to the letter.
	Issuer string `mapstructure:"issuer"`
	// Audience is for oidc: what the token's aud must be or hold.
	Audience string `mapstructure:"audience"`
	// Subjects are for oidc: patterns for the token's sub, in which * is any
	// text, / included.
	Subjects []string `mapstructure:"subjects"`
	// Claims are for oidc: NAME=VALUE, each of which must be so. A claim that
	// is a list must hold the value. Default none.
	Claims []string `mapstructure:"claims"`
	// JWKSURL is for oidc: where the issuer's keys are (https, or http on
	// loopback). They are read when needed, at most every 30 s. One of the two.
	JWKSURL string `mapstructure:"jwks_url"`
	// JWKSFile is for oidc: a file with the issuer's keys, read in the same way.
	JWKSFile string `mapstructure:"jwks_file"`
}

var (
	identityName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,31}$`)
	// The account is never a pattern. A role has a name only; a user may have a
	// path. No character classes: they could stand for a /.
	identityARN = regexp.MustCompile(`^arn:aws[a-z-]*:iam::[0-9]{12}:(role/[\w+=,.@*?-]+|user/[^:\[\]\\\s]+)$`)
	serverID    = regexp.MustCompile(`^[A-Za-z0-9._:-]{1,128}$`)
	regionName  = regexp.MustCompile(`^[a-z]{2,}(-[a-z]+)+-[0-9]+$`)
)

func (s Server) validateIdentities() []error {
	var errs []error
	names, aws := map[string]bool{}, false
	for i, id := range s.Identities {
		prefix := fmt.Sprintf("server.identities[%d].", i)
		bad := func(key, format string, args ...any) {
			errs = append(errs, fmt.Errorf(prefix+key+": "+format, args...))
		}
		id.validate(bad)
		if names[id.Name] {
			bad("name", "%q is taken by another identity", id.Name)
		}
		names[id.Name], aws = true, aws || id.Kind == "aws"
	}
	if aws && s.ID == "" {
		errs = append(errs, errors.New("server.id: is missing; callers of kind aws sign it (such as keyrot.example, the host of this server)"))
	}
	if s.ID != "" && !serverID.MatchString(s.ID) {
		errs = append(errs, fmt.Errorf("server.id: %q holds other characters than letters, digits, . _ : and -", s.ID))
	}
	for _, r := range s.STSRegions {
		if !regionName.MatchString(r) {
			errs = append(errs, fmt.Errorf("server.sts_regions: %q is not a region such as eu-west-1", r))
		}
	}
	return errs
}

func (i Identity) validate(bad func(key, format string, args ...any)) {
	if !identityName.MatchString(i.Name) {
		bad("name", "%q is not of small letters, digits, - and _, at most 32", i.Name)
	}
	if !slices.Contains([]string{"", "reader", "viewer"}, i.Role) {
		bad("role", "%q is not one of reader, viewer", i.Role)
	}
	if len(i.Users) == 0 && i.Role != "viewer" {
		bad("users", "is missing: name those that may be read, or * for all")
	}
	for _, u := range i.Users {
		if _, err := path.Match(u, ""); err != nil || u == "" {
			bad("users", "%q is a malformed pattern", u)
		}
	}
	for key, field := range map[string]struct {
		kind     string
		given    bool
		required bool
	}{
		"arns":     {"aws", len(i.ARNs) > 0, true},
		"issuer":   {"oidc", i.Issuer != "", true},
		"audience": {"oidc", i.Audience != "", true},
		"subjects": {"oidc", len(i.Subjects) > 0, true},
		"claims":   {"oidc", len(i.Claims) > 0, false},
		"jwks_url": {"oidc", i.JWKSURL != "", false}, "jwks_file": {"oidc", i.JWKSFile != "", false},
	} {
		if field.given && field.kind != i.Kind {
			bad(key, "is for kind %s", field.kind)
		}
		if !field.given && field.required && field.kind == i.Kind {
			bad(key, "is missing")
		}
	}
	switch i.Kind {
	case "aws":
		i.validateAWS(bad)
	case "oidc":
		i.validateOIDC(bad)
	default:
		bad("kind", "%q is not one of aws, oidc", i.Kind)
	}
}

func (i Identity) validateAWS(bad func(key, format string, args ...any)) {
	for _, arn := range i.ARNs {
		if !identityARN.MatchString(arn) {
			bad("arns", "%q is not arn:aws:iam::ACCOUNT:role/NAME (a role without its path) or arn:aws:iam::ACCOUNT:user/PATH/NAME", arn)
		}
	}
}

func (i Identity) validateOIDC(bad func(key, format string, args ...any)) {
	if slices.Contains(i.Subjects, "") {
		bad("subjects", "holds an empty pattern")
	}
	for _, c := range i.Claims {
		if name, value, ok := strings.Cut(c, "="); !ok || name == "" || value == "" {
			bad("claims", "%q is not NAME=VALUE", c)
		}
	}
	if (i.JWKSURL == "") == (i.JWKSFile == "") {
		bad("jwks_url", "give it or jwks_file")
	}
	if strings.Contains(i.JWKSURL, "@") { // not to be repeated
		bad("jwks_url", "holds a user or a password")
	} else if u, err := url.Parse(i.JWKSURL); i.JWKSURL != "" &&
		(err != nil || u.Host == "" || u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname()))) {
		bad("jwks_url", "%q is neither https://… nor http://… on loopback", i.JWKSURL)
	}
}
