package dynamodb

import (
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/store/content"
)

// A lease is two attributes of the user's entry, which saves leave alone: taking
// it is one write, and the last save of a pass gives it up. A user that has no
// entry has an item without a version, which is none to Load and List.

// goneLinger is how long an item without an entry is kept: for its lease.
const goneLinger = 24 * time.Hour

// ownerSize is the length of what stands for an owner, whose name may be long.
const ownerSize = 12

func ownerOf(name string) types.AttributeValue {
	sum := sha256.Sum256([]byte(name))
	return blob(sum[:ownerSize])
}

// Acquire implements [rotate.Store].
func (s *Store) Acquire(ctx context.Context, user, owner string, now time.Time, ttl time.Duration) (int64, error) {
	v, err := s.acquire(ctx, user, owner, now, ttl)
	return v, explain(fmt.Sprintf("leasing %q", user), s.Table, err)
}

func (s *Store) acquire(ctx context.Context, user, owner string, now time.Time, ttl time.Duration) (int64, error) {
	set := item{attrOwner: ownerOf(owner), attrEnds: number(content.Nanos(now.Add(ttl)))}
	for {
		it, err := s.update(ctx, key(kindEntry, user), set, free("attribute_exists(#version)", owner, now))
		if err == nil {
			return it.number(attrVersion), nil
		}
		is, ok := refused(err)
		switch {
		case !ok:
			return 0, err
		case is[attrVersion] != nil:
			return 0, rotate.ErrLeased
		}
		empty := maps.Clone(set)
		empty[attrExpires] = keepUntil(now.Add(ttl), goneLinger, 0)
		_, err = s.update(ctx, key(kindEntry, user), empty, free("attribute_not_exists(#version)", owner, now))
		if is, ok = refused(err); !ok {
			return 0, err
		}
		if is[attrVersion] == nil {
			return 0, rotate.ErrLeased
		} // otherwise an entry was made just now
	}
}

// free is the condition that nobody but owner holds the lease at now, and that
// where holds.
func free(where, owner string, now time.Time) *condition {
	var all []string
	for _, unheld := range []string{"attribute_not_exists(#owner)", "#owner = :owner", "#ends <= :now"} {
		all = append(all, where+" AND "+unheld)
	}
	return &condition{
		expression: strings.Join(all, " OR "), // AND binds closer
		names:      names{"#version": attrVersion, "#owner": attrOwner, "#ends": attrEnds},
		values:     item{":owner": ownerOf(owner), ":now": number(content.Nanos(now))},
	}
}

// Release implements [rotate.Store].
func (s *Store) Release(ctx context.Context, user, owner string) error {
	_, err := s.update(ctx, key(kindEntry, user), item{attrOwner: nil, attrEnds: nil}, &condition{
		expression: "#owner = :owner", names: names{"#owner": attrOwner}, values: item{":owner": ownerOf(owner)},
	})
	if _, ok := refused(err); ok {
		err = nil // somebody else's, or nobody's
	}
	return explain(fmt.Sprintf("releasing %q", user), s.Table, err)
}
