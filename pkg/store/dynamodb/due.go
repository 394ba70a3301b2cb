package dynamodb

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/keyrot/keyrot/pkg/store/content"
)

// Who is due is known from memory: each process notes the due times of all that
// it lists, loads and saves, and reads the whole table again once a minute, a
// page with each question. An index of due times costs two write units each time
// that a due time changes, which was a third of what a rotation cost. The index
// that there is holds only users that became due earlier than others may know:
// new ones, and those that somebody has given an order for.

// dueAge is how old what is known of others' saves may become.
const dueAge = time.Minute

// lag is how old an answer may be that is not consistent.
const lag = 2 * time.Second

// known is what this process knows of when users are due. The zero value is
// ready; it is safe for concurrent use.
type known struct {
	mu    sync.Mutex
	users map[string]dueTime
	whole time.Time // when all users began to be read last

	reading sync.Mutex // held by whoever reads all users
	begun   time.Time  // when that began; zero: it is done
	next    item       // where it goes on
}

type dueTime struct {
	nanos, version int64
	creates        bool
	queue          string    // of the index; "": none
	at             time.Time // when that was known
}

// note remembers what was so at d.at, unless more recent is known.
func (k *known) note(user string, d dueTime) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.users == nil {
		k.users = make(map[string]dueTime)
	}
	if k.users[user].at.After(d.at) {
		return
	}
	k.users[user] = d
}

// all says that all users that there were at at have been noted as of then: the
// others are gone.
func (k *known) all(at time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	maps.DeleteFunc(k.users, func(_ string, d dueTime) bool { return d.at.Before(at) })
	k.whole = at
}

// age is how long ago all users were read.
func (k *known) age() (age time.Duration, ever bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return time.Since(k.whole), !k.whole.IsZero()
}

// forget is for a user that has no entry any more.
func (k *known) forget(user string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.users, user)
}

// queue says where in the index a user belongs that was saved with that version
// before and will be due at nanos: among those that became due earlier than
// others may know, or "".
func (k *known) queue(user string, nanos, version int64, creates bool) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	was, ok := k.users[user]
	moves := -1 // earlier, or not known
	if ok && version != 0 && was.version == version {
		moves = cmp.Compare(nanos, was.nanos)
	}
	if moves < 0 || moves == 0 && was.queue != "" {
		return queueOf(creates)
	}
	return ""
}

// until adds the users that are due up to nanos.
func (k *known) until(nanos int64, creates bool, to map[string]int64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for user, d := range k.users {
		if d.nanos <= nanos && d.creates == creates {
			to[user] = d.nanos
		}
	}
}

// Due implements [rotate.Store]. It does not need the key. What another process
// saved may be found up to a minute late, and users be named that are not due
// any more. One that became due earlier than it was going to be is found within
// about a second.
func (s *Store) Due(ctx context.Context, t time.Time, creates bool, limit int) ([]string, error) {
	if limit <= 0 {
		return nil, nil
	}
	due, nanos := make(map[string]int64), content.Nanos(t)
	if err := s.refresh(ctx); err != nil {
		return nil, explain("reading when users are due", s.Table, err)
	}
	s.due.until(nanos, creates, due)
	if err := s.indexed(ctx, queueOf(creates), nanos, limit, due); err != nil {
		return nil, explain("reading what is due", s.Table, err)
	}
	users := slices.SortedFunc(maps.Keys(due), func(a, b string) int {
		return cmp.Or(cmp.Compare(due[a], due[b]), cmp.Compare(a, b))
	})
	return users[:min(limit, len(users))], nil
}

// indexed adds what the index holds.
func (s *Store) indexed(ctx context.Context, queue string, nanos int64, limit int, to map[string]int64) error {
	n := 0
	return s.query(ctx, &ddb.QueryInput{
		IndexName:                 aws.String(indexDue),
		Limit:                     aws.Int32(int32(min(limit, 1000))),
		KeyConditionExpression:    aws.String("#queue = :queue AND #due < :bound"),
		ExpressionAttributeNames:  names{"#queue": attrQueue, "#due": attrDue},
		ExpressionAttributeValues: item{":queue": text(queue), ":bound": text(dueBound(nanos))},
	}, func(it item) (bool, error) {
		to[it.text(attrSK)] = it.dueNanos()
		n++
		return n < limit, nil
	})
}

// refresh reads all due times the first time, and later a page with each call
// while what is known is too old.
func (s *Store) refresh(ctx context.Context) error {
	k := &s.due
	k.reading.Lock()
	defer k.reading.Unlock()
	age, ever := k.age()
	if ever && age < dueAge { // List or Changes may have read them meanwhile
		k.begun = time.Time{}
		return nil
	}
	if k.begun.IsZero() {
		if k.begun, k.next = time.Now(), nil; ever {
			k.begun = k.begun.Add(-lag)
		}
	}
	for more := true; more; more = !ever {
		in := ofKind(kindEntry, attrPK, attrSK, attrVersion, attrDue, attrCreates, attrQueue)
		in.TableName, in.ConsistentRead, in.ExclusiveStartKey = &s.Table, aws.Bool(!ever), k.next
		if s.PageSize > 0 {
			in.Limit = aws.Int32(s.PageSize)
		}
		out, err := s.API.Query(ctx, in)
		if err != nil {
			return err
		}
		for _, it := range out.Items {
			s.noteItem(k.begun, it)
		}
		if k.next = out.LastEvaluatedKey; len(k.next) == 0 {
			k.all(k.begun)
			k.begun = time.Time{}
			return nil
		}
	}
	return nil
}

// noteItem notes what an entry's item says, which was so at at.
func (s *Store) noteItem(at time.Time, it item) {
	if it[attrVersion] != nil {
		s.due.note(it.text(attrSK), dueTime{
			nanos: it.dueNanos(), version: it.number(attrVersion), creates: creates(it), queue: it.text(attrQueue), at: at,
		})
	}
}
