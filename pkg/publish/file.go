package publish

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/keyrot/keyrot/internal/disk"
	"github.com/keyrot/keyrot/pkg/rotate"
)

// The formats of a File, by the names the configuration uses.
var formats = map[string]string{
	"ini":  "[default]\naws_access_key_id = ${ACCESS_KEY_ID}\naws_secret_access_key = ${SECRET_ACCESS_KEY}\n",
	"env":  "AWS_ACCESS_KEY_ID=${ACCESS_KEY_ID}\nAWS_SECRET_ACCESS_KEY=${SECRET_ACCESS_KEY}\n",
	"json": "{\"access_key_id\":\"${ACCESS_KEY_ID}\",\"secret_access_key\":\"${SECRET_ACCESS_KEY}\",\"expiration\":\"${EXPIRATION}\"}\n",
}

// File writes the pair into a file, which is replaced as a whole: readers see
// the old content or the new one. Its folder must exist, and nobody but root,
// the user keyrot runs as and Owner may be able to change it or those above it:
// they could have the pair written elsewhere. A symbolic link is replaced, not
// followed.
type File struct {
	Label string // Name; default file
	Path  string // ${USER} is expanded
	// Format is ini (an AWS credentials file), env or json. Default ini,
	// unless Text is given.
	Format string
	// Text is the content, in which ${ACCESS_KEY_ID}, ${SECRET_ACCESS_KEY},
	// ${USER}, ${CREATED}, ${EXPIRATION} and, with a Region, ${SES_SMTP_USERNAME} and
	// ${SES_SMTP_PASSWORD} are expanded. ${NAME_URL} is NAME as a part of a URL.
	// Default: Format's.
	Text   string
	Region string // of SES; default none
	// Mode are the permissions. Default 0600.
	Mode fs.FileMode
	// Owner is USER, USER:GROUP or :GROUP, by name or number. Default: who
	// keyrot runs as.
	Owner string
}

// Name implements rotate.Publisher.
func (f *File) Name() string { return cmp.Or(f.Label, "file") }

// Check reports what cannot work.
func (f *File) Check() error {
	var errs []error
	if !filepath.IsAbs(f.Path) {
		errs = append(errs, fmt.Errorf("path: %q is not absolute", f.Path))
	}
	if _, err := CheckName(f.Path); err != nil {
		errs = append(errs, fmt.Errorf("path: %w", err))
	}
	switch {
	case f.Text != "" && f.Format != "":
		errs = append(errs, errors.New("text, format: give one of them"))
	case f.Text == "" && formats[f.format()] == "":
		errs = append(errs, fmt.Errorf("format: %q is not one of ini, env, json", f.Format))
	}
	if _, err := Expand(f.text(), variables(rotate.Credential{}, f.Region)); err != nil {
		errs = append(errs, fmt.Errorf("text: %w", err))
	}
	if f.Mode&^0o777 != 0 {
		errs = append(errs, fmt.Errorf("mode: %04o is more than permissions", f.Mode))
	}
	if f.Mode&0o007 != 0 {
		errs = append(errs, fmt.Errorf("mode: %04o opens the file to everybody", f.Mode))
	}
	return errors.Join(errs...)
}

func (f *File) format() string { return cmp.Or(f.Format, "ini") }
func (f *File) text() string   { return cmp.Or(f.Text, formats[f.format()]) }

// Traits implements rotate.Publisher.
func (f *File) Traits() rotate.Traits {
	return rotate.Traits{Compares: true, Expires: strings.Contains(f.text(), "${"+varExpiration)}
}

// Publish implements rotate.Publisher.
func (f *File) Publish(_ context.Context, c rotate.Credential) error {
	if c.User == "." || c.User == ".." || strings.ContainsAny(c.User, `/\`) {
		return fmt.Errorf("user %q cannot be part of a path", c.User)
	}
	path, err := named(f.Path, c)
	if err != nil {
		return err
	}
	// No format quotes: a value that would need it is not written.
	if strings.ContainsAny(c.KeyID+c.Secret.Reveal(), "\"'\\\n\r$ #") {
		return errors.New("the pair holds a character that no format can take")
	}
	text, err := Expand(f.text(), variables(c, f.Region))
	if err != nil {
		return err
	}
	uid, gid, err := owner(f.Owner)
	if err != nil {
		return err
	}
	var also []int
	if uid >= 0 {
		also = []int{uid}
	}
	dir, err := disk.OpenDir(filepath.Dir(path), false, also...)
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	content := disk.Content{Text: []byte(text), Mode: cmp.Or(f.Mode, 0o600), UID: uid, GID: gid}
	if disk.Same(dir, filepath.Base(path), content) {
		return nil
	}
	return disk.Replace(dir, filepath.Base(path), content)
}

// owner resolves USER:GROUP; -1 is "as it is".
func owner(s string) (uid, gid int, err error) {
	uid, gid = -1, -1
	name, group, _ := strings.Cut(s, ":")
	if name != "" {
		if uid, err = strconv.Atoi(name); err != nil {
			u, err := user.Lookup(name)
			if err != nil {
				return -1, -1, fmt.Errorf("owner: %w", err)
			}
			if uid, err = strconv.Atoi(u.Uid); err != nil {
				return -1, -1, fmt.Errorf("owner: user id %q is no number", u.Uid)
			}
		}
	}
	if group != "" {
		if gid, err = strconv.Atoi(group); err != nil {
			g, err := user.LookupGroup(group)
			if err != nil {
				return -1, -1, fmt.Errorf("owner: %w", err)
			}
			if gid, err = strconv.Atoi(g.Gid); err != nil {
				return -1, -1, fmt.Errorf("owner: group id %q is no number", g.Gid)
			}
		}
	}
	return uid, gid, nil
}
