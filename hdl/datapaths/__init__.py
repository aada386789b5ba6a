# SPDX-License-Identifier: Apache-2.0
"""What differs between datapaths: their lanes, and how events come to them.

Each is one object, a :class:`hdl.datapaths.datapath.Datapath`; whoever needs one asks
:func:`datapath_of`. They are named in this order where people choose.
"""

from ttfs_fpga.hdl.datapaths.datapath import Datapath, datapath_named, datapath_of, register
from ttfs_fpga.hdl.datapaths.mac import Mac
from ttfs_fpga.hdl.datapaths.ramp import Ramp
from ttfs_fpga.hdl.datapaths.serial import Serial

__all__ = ["Datapath", "datapath_named", "datapath_of", "register"]

for each in (Mac(), Serial(), Ramp()):
    register(each)
