package workflows

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	failurepb "go.temporal.io/api/failure/v1"
	workflowpb "go.temporal.io/api/workflow/v1"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// TestWaiting: a job waits for a worker when its activities have been in the queue for a while and none is at work.
func TestWaiting(t *testing.T) {
	now := time.Unix(1000, 0).UTC()
	info := func(change func(*workflowpb.PendingActivityInfo)) *workflowpb.PendingActivityInfo {
		a := &workflowpb.PendingActivityInfo{ActivityType: &commonpb.ActivityType{Name: ActivityEvaluate}, State: enumspb.PENDING_ACTIVITY_STATE_SCHEDULED, Attempt: 1,
			ScheduledTime: timestamppb.New(now.Add(-time.Minute))}
		if change != nil {
			change(a)
		}
		return a
	}
	fresh := info(func(a *workflowpb.PendingActivityInfo) { a.ScheduledTime = timestamppb.New(now.Add(-time.Millisecond)) })
	started := info(func(a *workflowpb.PendingActivityInfo) { a.State = enumspb.PENDING_ACTIVITY_STATE_STARTED })
	backoff := info(func(a *workflowpb.PendingActivityInfo) {
		a.Attempt, a.LastFailure = 2, &failurepb.Failure{Message: "disk full"}
		a.ScheduledTime = timestamppb.New(now.Add(4 * time.Second))
		a.NextAttemptScheduleTime = a.ScheduledTime
	})
	again := info(func(a *workflowpb.PendingActivityInfo) { a.Attempt = 2 })
	for name, c := range map[string]struct {
		infos  []*workflowpb.PendingActivityInfo
		paused bool
		want   bool
	}{
		"nothing to do":     {nil, false, false},
		"in the queue":      {[]*workflowpb.PendingActivityInfo{info(nil)}, false, true},
		"just put there":    {[]*workflowpb.PendingActivityInfo{fresh}, false, false},
		"one of two":        {[]*workflowpb.PendingActivityInfo{info(nil), started}, false, false},
		"two":               {[]*workflowpb.PendingActivityInfo{fresh, info(nil)}, false, true},
		"not due yet":       {[]*workflowpb.PendingActivityInfo{backoff}, false, false},
		"another attempt":   {[]*workflowpb.PendingActivityInfo{again}, false, true},
		"paused":            {[]*workflowpb.PendingActivityInfo{info(nil)}, true, false},
		"a worker is at it": {[]*workflowpb.PendingActivityInfo{started}, false, false},
	} {
		st := Status{Paused: c.paused}
		for _, a := range c.infos {
			st.Pending = append(st.Pending, pendingOf(a))
		}
		require.Equal(t, c.want, st.Waiting(now), name)
	}
	require.Equal(t, Pending{Activity: ActivityEvaluate, Attempt: 1, Queued: now.Add(-time.Minute)}, pendingOf(info(nil)))
	require.Equal(t, Pending{Activity: ActivityEvaluate, Attempt: 1, Running: true}, pendingOf(started))
	require.Equal(t, Pending{Activity: ActivityEvaluate, Attempt: 2, Failure: "disk full"}, pendingOf(backoff))
}
