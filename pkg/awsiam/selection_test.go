package awsiam

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"

	"github.com/keyrot/keyrot/pkg/rotate"
)

// directory is an IAM that holds users, answers two per page, and refuses the
// operations in refuse.
type directory struct {
	users  []types.UserDetail
	refuse map[string]string // code by operation, or by operation and user
}

func account() *directory {
	d := &directory{refuse: map[string]string{}}
	for _, u := range []struct{ name, path, managed string }{
		{"app", "/keyrot/", "true"},
		{"batch", "/keyrot/", "false"},
		{"ci", "/", "true"},
		{"dev", "/keyrot/", "true"},
		{"eve", "/", ""},
	} {
		detail := types.UserDetail{UserName: aws.String(u.name), UserId: aws.String("AIDA" + u.name), Path: aws.String(u.path)}
		detail.Tags = append(detail.Tags, types.Tag{Key: aws.String("a"), Value: aws.String("b")}, types.Tag{Key: aws.String("c"), Value: aws.String("d")})
		if u.managed != "" {
			detail.Tags = append(detail.Tags, types.Tag{Key: aws.String("keyrot:managed"), Value: aws.String(u.managed)})
		}
		d.users = append(d.users, detail)
	}
	return d
}

func (d *directory) refused(op string) error {
	if code := d.refuse[op]; code != "" {
		return &smithy.GenericAPIError{Code: code, Message: op}
	}
	return nil
}

func page[T any](all []T, marker *string) (part []T, more bool, next *string) {
	from, _ := strconv.Atoi(aws.ToString(marker))
	to := min(from+2, len(all))
	return all[from:to], to < len(all), aws.String(strconv.Itoa(to))
}

func (d *directory) find(name *string) (types.UserDetail, error) {
	for _, u := range d.users {
		if *u.UserName == *name {
			return u, nil
		}
	}
	return types.UserDetail{}, &smithy.GenericAPIError{Code: "NoSuchEntity", Message: "no user " + *name}
}

func (d *directory) api() API {
	return API{
		GetUser: func(_ context.Context, in *iam.GetUserInput, _ ...func(*iam.Options)) (*iam.GetUserOutput, error) {
			u, err := d.find(in.UserName)
			return &iam.GetUserOutput{User: &types.User{UserName: u.UserName, UserId: u.UserId, Path: u.Path}}, err
		},
		ListUsers: func(_ context.Context, in *iam.ListUsersInput, _ ...func(*iam.Options)) (*iam.ListUsersOutput, error) {
			var all []types.User
			for _, u := range d.users {
				if strings.HasPrefix(*u.Path, aws.ToString(in.PathPrefix)) {
					all = append(all, types.User{UserName: u.UserName, UserId: u.UserId, Path: u.Path})
				}
			}
			part, more, next := page(all, in.Marker)
			return &iam.ListUsersOutput{Users: part, IsTruncated: more, Marker: next}, d.refused("ListUsers")
		},
		ListUserTags: func(_ context.Context, in *iam.ListUserTagsInput, _ ...func(*iam.Options)) (*iam.ListUserTagsOutput, error) {
			u, err := d.find(in.UserName)
			part, more, next := page(u.Tags, in.Marker)
			return &iam.ListUserTagsOutput{Tags: part, IsTruncated: more, Marker: next}, errors.Join(err, d.refused("ListUserTags "+*in.UserName))
		},
		GetAccountAuthorizationDetails: func(_ context.Context, in *iam.GetAccountAuthorizationDetailsInput, _ ...func(*iam.Options)) (*iam.GetAccountAuthorizationDetailsOutput, error) {
			part, more, next := page(d.users, in.Marker)
			return &iam.GetAccountAuthorizationDetailsOutput{UserDetailList: part, IsTruncated: more, Marker: next}, d.refused("details")
		},
	}
}

func TestSelect(t *testing.T) {
	t.Parallel()
	const managed = "keyrot:managed=true"
	denied := map[string]string{"details": "AccessDenied"}
	for _, row := range []struct {
		name   string
		sel    Selection
		refuse map[string]string
		want   string
		err    error
		says   string
	}{
		{name: "names", sel: Selection{Names: []string{"eve", "app"}}, want: "app eve"},
		{name: "a name that does not exist", sel: Selection{Names: []string{"app", "zoe"}}, err: rotate.ErrNoUser, says: `"zoe"`, want: "app"},
		{name: "only names that do not exist", sel: Selection{Names: []string{"yan", "zoe"}}, err: rotate.ErrNoUser, says: `"yan"`},
		{name: "everybody", sel: Selection{All: true}, want: "app batch ci dev eve"},
		{name: "a path", sel: Selection{PathPrefix: "/keyrot/"}, want: "app batch dev"},
		{name: "a tag", sel: Selection{Tag: managed}, want: "app ci dev"},
		{name: "a tag and a path", sel: Selection{Tag: managed, PathPrefix: "/keyrot/"}, want: "app dev"},
		{name: "a tag and a name", sel: Selection{Tag: managed, Names: []string{"eve"}}, want: "app ci dev eve"},
		{name: "exclusions win", sel: Selection{Tag: managed, Names: []string{"app", "eve"}, Exclude: []string{"app", "d*"}}, want: "ci eve"},
		{name: "exclusions in capitals", sel: Selection{All: true, Exclude: []string{"APP", "D*", "Eve"}}, want: "batch ci"},
		{name: "details denied", sel: Selection{Tag: managed}, refuse: denied, want: "app ci dev"},
		{name: "details missing", sel: Selection{Tag: managed}, refuse: map[string]string{"details": "InvalidAction"}, want: "app ci dev"},
		{name: "details throttled", sel: Selection{Tag: managed}, refuse: map[string]string{"details": "Throttling"}, err: rotate.ErrThrottled},
		{
			name: "one user's tags denied", sel: Selection{Tag: managed}, err: rotate.ErrDenied, says: `"dev"`,
			refuse: map[string]string{"details": "AccessDenied", "ListUserTags dev": "AccessDenied"},
		},
		{
			name: "an excluded user's tags denied", sel: Selection{Tag: managed, Exclude: []string{"dev"}}, want: "app ci",
			refuse: map[string]string{"details": "AccessDenied", "ListUserTags dev": "AccessDenied"},
		},
		{
			name: "a user deleted meanwhile", sel: Selection{Tag: managed}, want: "app ci",
			refuse: map[string]string{"details": "AccessDenied", "ListUserTags dev": "NoSuchEntity"},
		},
		{name: "no list", sel: Selection{All: true}, refuse: map[string]string{"ListUsers": "AccessDenied"}, err: rotate.ErrDenied},
		{name: "nothing selected", sel: Selection{}, err: rotate.ErrNoUsers},
		{name: "only exclusions", sel: Selection{Exclude: []string{"*"}}, err: rotate.ErrNoUsers},
		{name: "nobody has the tag", sel: Selection{Tag: "x=y"}, err: rotate.ErrNoUsers},
		{name: "everybody excluded", sel: Selection{All: true, Exclude: []string{"*"}}, err: rotate.ErrNoUsers},
		{name: "a tag without a value", sel: Selection{Tag: "keyrot"}, says: "key=value"},
		{name: "a path without a slash", sel: Selection{PathPrefix: "keyrot/"}, says: "slash"},
		{name: "a path that is the beginning of others", sel: Selection{PathPrefix: "/keyrot"}, says: "end with a slash"},
		{name: "a bad glob", sel: Selection{All: true, Exclude: []string{"["}}, says: `"["`},
		{name: "all and a tag", sel: Selection{All: true, Tag: managed}, says: "exclude each other"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			d := account()
			d.refuse = row.refuse
			users, err := (&IAM{API: d.api()}).Select(row.sel)(t.Context())
			var names []string
			for _, u := range users {
				names = append(names, u.Name)
			}
			if diff := cmp.Diff(row.want, strings.Join(names, " ")); diff != "" {
				t.Errorf("Select(%+v) (-want +got):\n%s", row.sel, diff)
			}
			wantFail := row.err != nil || row.says != ""
			if (err != nil) != wantFail || row.err != nil && !errors.Is(err, row.err) || wantFail && !strings.Contains(err.Error(), row.says) {
				t.Errorf("Select(%+v) error = %v, want %v saying %q", row.sel, err, row.err, row.says)
			}
		})
	}
}

// counting wraps the calls of an API that give pages, and fails if one asks for
// fewer than IAM would give.
func counting(t *testing.T, api API) (API, map[string]int) {
	t.Helper()
	calls := map[string]int{}
	note := func(op string, size *int32) {
		if calls[op]++; aws.ToInt32(size) != 1000 {
			t.Errorf("%s asks for pages of %d, want 1000", op, aws.ToInt32(size))
		}
	}
	out := api
	out.ListUsers = func(ctx context.Context, in *iam.ListUsersInput, o ...func(*iam.Options)) (*iam.ListUsersOutput, error) {
		note("ListUsers", in.MaxItems)
		return api.ListUsers(ctx, in, o...)
	}
	out.ListUserTags = func(ctx context.Context, in *iam.ListUserTagsInput, o ...func(*iam.Options)) (*iam.ListUserTagsOutput, error) {
		note("ListUserTags", in.MaxItems)
		return api.ListUserTags(ctx, in, o...)
	}
	out.GetAccountAuthorizationDetails = func(ctx context.Context, in *iam.GetAccountAuthorizationDetailsInput, o ...func(*iam.Options)) (*iam.GetAccountAuthorizationDetailsOutput, error) {
		note("details", in.MaxItems)
		return api.GetAccountAuthorizationDetails(ctx, in, o...)
	}
	out.ListAccessKeys = func(_ context.Context, in *iam.ListAccessKeysInput, _ ...func(*iam.Options)) (*iam.ListAccessKeysOutput, error) {
		note("ListAccessKeys", in.MaxItems)
		return &iam.ListAccessKeysOutput{}, nil
	}
	return out, calls
}

func TestSelectionIsReadByFewCalls(t *testing.T) {
	t.Parallel()
	const managed = "keyrot:managed=true"
	many := account()
	for i := range 30 {
		many.users = append(many.users, types.UserDetail{UserName: aws.String("m" + strconv.Itoa(i)), UserId: aws.String("AIDAm"), Path: aws.String("/keyrot/"), Tags: many.users[0].Tags})
	}
	for _, tc := range []struct {
		name string
		d    *directory
		deny map[string]string
		sel  Selection
		want string // what is read
		n    int    // users
	}{
		{"a path with users has the account read for their tags", account(), nil, Selection{Tag: managed, PathPrefix: "/keyrot/"}, "ListUsers details", 2},
		{"a path with many has the account read", many, nil, Selection{Tag: managed, PathPrefix: "/keyrot/"}, "ListUsers details", 32},
		{"an empty path is not looked at any further", account(), nil, Selection{Tag: managed, PathPrefix: "/none/"}, "ListUsers", 0},
		{"a path that may not be listed", account(), map[string]string{"ListUsers": "AccessDenied"}, Selection{Tag: managed, PathPrefix: "/keyrot/"}, "ListUsers details", 2},
		{"a tag alone has the account read", account(), nil, Selection{Tag: managed}, "details", 3},
		{"a path alone is listed", account(), nil, Selection{PathPrefix: "/keyrot/"}, "ListUsers", 3},
	} {
		tc.d.refuse = tc.deny
		api, calls := counting(t, tc.d.api())
		users, err := (&IAM{API: api}).Select(tc.sel)(t.Context())
		if len(users) != tc.n || (err != nil) != (tc.n == 0) {
			t.Errorf("%s: %d users, %v, want %d", tc.name, len(users), err, tc.n)
		}
		var got []string
		for _, op := range []string{"ListUsers", "ListUserTags", "details"} {
			if calls[op] > 0 {
				got = append(got, op)
			}
		}
		if strings.Join(got, " ") != tc.want {
			t.Errorf("%s: read by %v, want %s", tc.name, got, tc.want)
		}
	}
	api, calls := counting(t, API{})
	if _, err := (&IAM{API: api}).Keys(t.Context(), "u"); err != nil || calls["ListAccessKeys"] != 1 {
		t.Errorf("Keys = %v by %d calls", err, calls["ListAccessKeys"])
	}
}

func TestExclusionsOfNobody(t *testing.T) {
	t.Parallel()
	for name, refuse := range map[string]map[string]string{"by details": nil, "by each user's tags": {"details": "AccessDenied"}} {
		d := account()
		d.refuse = refuse
		var got [][]string
		_, err := (&IAM{API: d.api()}).Select(Selection{
			Tag: "keyrot:managed=true", Names: []string{"eve", "app"}, Exclude: []string{"app", "d*", "eva", "x-*"},
			Unused: func(exclusions []string) { got = append(got, exclusions) },
		})(t.Context())
		if diff := cmp.Diff([][]string{{"eva", "x-*"}}, got); err != nil || diff != "" {
			t.Errorf("%s: %v, unused (-want +got):\n%s", name, err, diff)
		}
	}
}

func TestPagesThatRepeatAreAnError(t *testing.T) {
	t.Parallel()
	a := &IAM{API: API{ListAccessKeys: func(context.Context, *iam.ListAccessKeysInput, ...func(*iam.Options)) (*iam.ListAccessKeysOutput, error) {
		return &iam.ListAccessKeysOutput{IsTruncated: true, Marker: aws.String("again")}, nil
	}}}
	if _, err := a.Keys(t.Context(), "u"); err == nil || !strings.Contains(err.Error(), "repeats") {
		t.Errorf("Keys = %v, want an error about the repeated page", err)
	}
}

func TestKeysOfAllPagesAreListed(t *testing.T) {
	t.Parallel()
	a := &IAM{API: API{ListAccessKeys: func(_ context.Context, in *iam.ListAccessKeysInput, _ ...func(*iam.Options)) (*iam.ListAccessKeysOutput, error) {
		all := []types.AccessKeyMetadata{{AccessKeyId: aws.String("AKIA1")}, {AccessKeyId: aws.String("AKIA2")}, {AccessKeyId: aws.String("AKIA3")}}
		for i := range all {
			all[i].UserName, all[i].Status, all[i].CreateDate = in.UserName, types.StatusTypeActive, aws.Time(time.Unix(0, 0))
		}
		part, more, next := page(all, in.Marker)
		return &iam.ListAccessKeysOutput{AccessKeyMetadata: part, IsTruncated: more, Marker: next}, nil
	}}}
	keys, err := a.Keys(t.Context(), "u")
	if err != nil || len(keys) != 3 || keys[2].ID != "AKIA3" {
		t.Errorf("Keys = %+v, %v, want all three", keys, err)
	}
}

// Each call takes 50 ms: 500 of them one after the other would take 25 s.
func TestManyUsersAreReadSideBySide(t *testing.T) {
	t.Parallel()
	names := make([]string, 500)
	for i := range names {
		names[i] = "user-" + strconv.Itoa(i)
	}
	look := func(broken string) func(context.Context, *iam.GetUserInput, ...func(*iam.Options)) (*iam.GetUserOutput, error) {
		return func(ctx context.Context, in *iam.GetUserInput, _ ...func(*iam.Options)) (*iam.GetUserOutput, error) {
			time.Sleep(50 * time.Millisecond)
			switch *in.UserName {
			case broken:
				return nil, &smithy.GenericAPIError{Code: "ServiceFailure"}
			case "user-7":
				return nil, &smithy.GenericAPIError{Code: "NoSuchEntity"}
			}
			return &iam.GetUserOutput{User: &types.User{UserName: in.UserName, UserId: aws.String("AIDA" + *in.UserName)}}, ctx.Err()
		}
	}
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		a := &IAM{API: API{GetUser: look("")}}
		users, err := a.Select(Selection{Names: names})(t.Context())
		if len(users) != 499 || !errors.Is(err, rotate.ErrNoUser) || !strings.Contains(err.Error(), "user-7") {
			t.Errorf("Select() = %d users, %v, want all but user-7", len(users), err)
		}
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("it took %s", took)
		}
		began = time.Now()
		a.API.GetUser = look("user-20")
		if users, err = a.Select(Selection{Names: names})(t.Context()); users != nil || err == nil || !strings.Contains(err.Error(), "ServiceFailure") {
			t.Errorf("Select() = %d users, %v, want the failure and nobody", len(users), err)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("the failure came after %s", took)
		}
	})
}
