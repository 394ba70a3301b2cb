package awsiam

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/keyrot/keyrot/pkg/rotate"
)

// Selection says which users to manage: those named, and those that have both
// the path prefix and the tag (as far as given), or everybody; never those
// excluded. The zero value selects nobody.
type Selection struct {
	Names      []string // a name that does not exist is an error
	PathPrefix string   // begins and ends with a slash, e.g. /keyrot/
	Tag        string   // key=value
	Exclude    []string // names or globs as in package path; they win
	All        bool     // every user of the account
	// Unused is called after each selection that could be read, with the
	// exclusions that exclude nobody. nil: nobody is told.
	Unused func(exclusions []string)
}

// Validate reports what is wrong with the selection; ErrNoUsers if it is empty.
func (s Selection) Validate() error {
	var errs []error
	if len(s.Names) == 0 && !s.byRule() {
		errs = append(errs, rotate.ErrNoUsers)
	}
	if s.All && (s.PathPrefix != "" || s.Tag != "") {
		errs = append(errs, errors.New("all users and a path prefix or tag exclude each other"))
	}
	if p := s.PathPrefix; p != "" && (!strings.HasPrefix(p, "/") || !strings.HasSuffix(p, "/")) { // /a would be /a-b/, too
		errs = append(errs, fmt.Errorf("path prefix %q does not begin and end with a slash", p))
	}
	if key, _, ok := strings.Cut(s.Tag, "="); s.Tag != "" && (!ok || key == "") {
		errs = append(errs, fmt.Errorf("tag %q is not of the form key=value", s.Tag))
	}
	for _, pattern := range s.Exclude {
		if _, err := path.Match(pattern, ""); err != nil {
			errs = append(errs, fmt.Errorf("exclusion %q: %w", pattern, err))
		}
	}
	return errors.Join(errs...)
}

func (s Selection) byRule() bool { return s.All || s.PathPrefix != "" || s.Tag != "" }

// excluded reports whether an exclusion meets the user, and notes in used which
// do. Capitals do not matter: no two users of an account differ in them only.
func (s Selection) excluded(name string, used map[string]bool) bool {
	met := false
	for _, pattern := range s.Exclude {
		ok, _ := path.Match(strings.ToLower(pattern), strings.ToLower(name)) // Validate has seen the pattern
		if ok || pattern == name {
			met, used[pattern] = true, true
		}
	}
	return met
}

func (s Selection) tellUnused(used map[string]bool) {
	if s.Unused == nil {
		return
	}
	s.Unused(slices.DeleteFunc(slices.Clone(s.Exclude), func(pattern string) bool { return used[pattern] }))
}

// Select returns a func that finds the selected users, ordered by name. It
// fails closed: an empty selection is ErrNoUsers, and if anything cannot be
// read the whole selection cannot. Names that IAM does not know are
// rotate.ErrNoUser; the others are returned beside that error.
func (a *IAM) Select(s Selection) func(context.Context) ([]rotate.User, error) {
	return func(ctx context.Context) ([]rotate.User, error) {
		if err := s.Validate(); err != nil {
			return nil, fmt.Errorf("selecting users: %w", err)
		}
		found, used := map[string]rotate.User{}, map[string]bool{}
		names := slices.DeleteFunc(slices.Clone(s.Names), func(name string) bool { return s.excluded(name, used) })
		users, unknown, err := readEach(ctx, names, a.User)
		if err != nil {
			return nil, fmt.Errorf("selecting users: %w", err)
		}
		for _, u := range users {
			found[u.Name] = u
		}
		if s.byRule() {
			byRule, err := a.match(ctx, s, used)
			if err != nil {
				return nil, fmt.Errorf("selecting users: %w", err)
			}
			for _, u := range byRule {
				found[u.Name] = u
			}
		}
		users = users[:0]
		for _, u := range found {
			if !s.excluded(u.Name, used) {
				users = append(users, u)
			}
		}
		s.tellUnused(used)
		if len(users) == 0 && len(unknown) > 0 {
			return nil, fmt.Errorf("selecting users: %w", errors.Join(unknown...))
		}
		if len(users) == 0 {
			return nil, fmt.Errorf("selecting users: %w", rotate.ErrNoUsers)
		}
		slices.SortFunc(users, func(x, y rotate.User) int { return strings.Compare(x.Name, y.Name) })
		if len(unknown) > 0 {
			return users, fmt.Errorf("selecting users: %w", errors.Join(unknown...))
		}
		return users, nil
	}
}

// match finds the users that the rule selects, exclusions not yet applied.
func (a *IAM) match(ctx context.Context, s Selection, used map[string]bool) ([]rotate.User, error) {
	if s.Tag == "" {
		return a.listUsers(ctx, s.PathPrefix)
	}
	users, err := a.tagged(ctx, s, used)
	if err != nil {
		return nil, err
	}
	key, value, _ := strings.Cut(s.Tag, "=")
	return slices.DeleteFunc(users, func(u rotate.User) bool {
		got, ok := u.Tags[key]
		return !ok || got != value || !strings.HasPrefix(u.Path, s.PathPrefix)
	}), nil
}

// tagged returns users with their tags: all of the account or those of the path.
// A path is listed by itself first, because it may hold nobody.
func (a *IAM) tagged(ctx context.Context, s Selection, used map[string]bool) ([]rotate.User, error) {
	if s.PathPrefix != "" {
		listed, err := a.listUsers(ctx, s.PathPrefix)
		if err == nil && len(listed) == 0 {
			return nil, nil
		}
		if err != nil && !errors.Is(err, rotate.ErrDenied) { // then the account may be read nevertheless
			return nil, err
		}
	}
	users, err := a.details(ctx)
	if errors.Is(err, rotate.ErrDenied) || missing[code(err)] {
		listed, err := a.listUsers(ctx, s.PathPrefix)
		if err != nil {
			return nil, err
		}
		return a.withTags(ctx, s, listed, used)
	}
	return users, err
}

// details reads all users with their tags, a thousand per call.
func (a *IAM) details(ctx context.Context) ([]rotate.User, error) {
	const doing = "reading the account's users"
	var all []rotate.User
	err := pages(doing, func(marker *string) (*string, error) {
		out, err := a.API.GetAccountAuthorizationDetails(ctx, &iam.GetAccountAuthorizationDetailsInput{
			Filter: []types.EntityType{types.EntityTypeUser}, Marker: marker, MaxItems: a.pageSize(),
		})
		if err != nil {
			return nil, translate(doing, err, nil)
		}
		for _, d := range out.UserDetailList {
			all = append(all, rotate.User{
				Name: aws.ToString(d.UserName), ID: aws.ToString(d.UserId), ARN: aws.ToString(d.Arn),
				Path: aws.ToString(d.Path), Tags: tags(d.Tags),
			})
		}
		return next(out.IsTruncated, out.Marker), nil
	})
	return all, err
}

func (a *IAM) listUsers(ctx context.Context, prefix string) ([]rotate.User, error) {
	const doing = "listing users"
	in := iam.ListUsersInput{MaxItems: a.pageSize()}
	if prefix != "" {
		in.PathPrefix = &prefix
	}
	var all []rotate.User
	err := pages(doing, func(marker *string) (*string, error) {
		in.Marker = marker
		out, err := a.API.ListUsers(ctx, &in)
		if err != nil {
			return nil, translate(doing, err, nil)
		}
		for _, u := range out.Users {
			all = append(all, user(u))
		}
		return next(out.IsTruncated, out.Marker), nil
	})
	return all, err
}

// withTags reads the tags of the listed users that are not excluded, by one call
// for each.
func (a *IAM) withTags(ctx context.Context, s Selection, listed []rotate.User, used map[string]bool) ([]rotate.User, error) {
	listed = slices.DeleteFunc(listed, func(u rotate.User) bool { return s.excluded(u.Name, used) })
	users, _, err := readEach(ctx, listed, func(ctx context.Context, u rotate.User) (rotate.User, error) {
		tags, err := a.tagsOf(ctx, u.Name)
		u.Tags = tags
		return u, err
	})
	return users, err // without those deleted since they were listed
}

// reads is how many calls that read single users are in flight at once.
const reads = 16

// readEach calls read for all of from, side by side, and returns the users that
// it found, and the errors for those that IAM does not know. Any other error ends
// it, and is returned.
func readEach[From any](
	ctx context.Context, from []From, read func(context.Context, From) (rotate.User, error),
) (users []rotate.User, unknown []error, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	found, errs := make([]rotate.User, len(from)), make([]error, len(from))
	slots := make(chan struct{}, reads)
	var wg sync.WaitGroup
	for i := range from {
		slots <- struct{}{}
		if ctx.Err() != nil {
			break
		}
		wg.Go(func() {
			defer func() { <-slots }()
			if found[i], errs[i] = read(ctx, from[i]); errs[i] != nil && !errors.Is(errs[i], rotate.ErrNoUser) {
				cancel(errs[i]) // the first one is the reason
			}
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return nil, nil, context.Cause(ctx)
	}
	for i, err := range errs {
		if err != nil {
			unknown = append(unknown, err)
			continue
		}
		users = append(users, found[i])
	}
	return users, unknown, nil
}

func (a *IAM) tagsOf(ctx context.Context, name string) (map[string]string, error) {
	doing := fmt.Sprintf("reading the tags of %q", name)
	var all []types.Tag
	err := pages(doing, func(marker *string) (*string, error) {
		out, err := a.API.ListUserTags(ctx, &iam.ListUserTagsInput{UserName: &name, Marker: marker, MaxItems: a.pageSize()})
		if err != nil {
			return nil, translate(doing, err, rotate.ErrNoUser)
		}
		all = append(all, out.Tags...)
		return next(out.IsTruncated, out.Marker), nil
	})
	return tags(all), err
}
