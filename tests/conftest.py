"""What every suite shares."""

from hypothesis import HealthCheck, settings

# Wall-clock judgements say more about the machine's other work than about the code: no deadlines, no "too slow".
settings.register_profile("featurestore", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("featurestore")
