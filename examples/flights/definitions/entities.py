"""What the features describe."""

from featurestore import Entity
from featurestore import types as t

plane = Entity("plane", join_keys={"tailnum": t.String}, description="One aircraft, by its tail number.")
origin = Entity("origin", join_keys={"origin": t.String}, description="The airport a flight leaves from.")
route = Entity("route", join_keys={"origin": t.String, "dest": t.String}, description="From one airport to another.")
carrier = Entity("carrier", join_keys={"carrier": t.String}, description="An airline.")
